package frame_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/frame"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

func document(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// block returns the lines of a fenced block of the document.
func block(t *testing.T, fence string) []string {
	t.Helper()
	_, rest, found := strings.Cut(document(t), "```"+fence+"\n")
	text, _, ended := strings.Cut(rest, "\n```")
	if !found || !ended {
		t.Fatalf("the document has no block %q", fence)
	}
	return strings.Split(text, "\n")
}

func TestTheDocumentsFramesCanBeRead(t *testing.T) {
	for _, line := range block(t, "json client") {
		if _, _, err := frame.DecodeJSON([]byte(line)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, line := range block(t, "json server") {
		if err := protojson.Unmarshal(coverData(t, []byte(line)), &millracev1.ServerFrame{}); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestTheDocumentHasTheTableOfReasons(t *testing.T) {
	text := document(t)
	for _, o := range millrace.Outcomes() {
		again := map[bool]string{true: "yes", false: "no"}[o.Retryable]
		if row := fmt.Sprintf("| %#q | %d | %d | %s |\n", string(o.Reason), o.HTTP, o.Close, again); !strings.Contains(text, row) {
			t.Errorf("the document lacks %s", row)
		}
	}
	if got, want := strings.Count(text, "\n| `"), len(millrace.Outcomes()); got != want {
		t.Errorf("the document has %d reasons, want %d", got, want)
	}
}
