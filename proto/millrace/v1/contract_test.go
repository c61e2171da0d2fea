package millracev1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

const reasonPrefix = "ERROR_REASON_"

func TestErrorReasonsAreTheReasonsOfTheTable(t *testing.T) {
	outcomes := millrace.Outcomes()
	for i, o := range outcomes {
		want := reasonPrefix + strings.ToUpper(string(o.Reason))
		if got := millracev1.ErrorReason(i + 1).String(); got != want {
			t.Errorf("value %d is %s, want %s", i+1, got, want)
		}
	}
	if got, want := len(millracev1.ErrorReason_name), len(outcomes)+1; got != want {
		t.Errorf("the enum has %d values, want %d: the table and unspecified", got, want)
	}
}

func TestErrorReasonsNameTheirStatus(t *testing.T) {
	text := readFile(t, "error.proto")
	for _, o := range millrace.Outcomes() {
		want := fmt.Sprintf("// %s%s (%s): ", reasonPrefix, strings.ToUpper(string(o.Reason)), code.Code(o.GRPC))
		if !strings.Contains(text, want) {
			t.Errorf("error.proto does not say %q", want)
		}
	}
}

func TestGapNamesEveryCause(t *testing.T) {
	text := readFile(t, "event.proto")
	_, gap, _ := strings.Cut(text, "message Gap {")
	comment, _, ok := strings.Cut(gap, "string cause")
	if !ok {
		t.Fatal("event.proto has no Gap with a cause")
	}
	for c := millrace.CauseTrimmed; c.String() != "unknown"; c++ {
		if !strings.Contains(comment, c.String()+" (") {
			t.Errorf("the comment of Gap.cause does not explain %q", c)
		}
	}
}

// declaration matches a line that begins something which must be documented.
var declaration = regexp.MustCompile(`^\s*(` +
	`(message|enum|service|oneof|rpc)\s.*|` + // a block or call
	`(optional |repeated )?[\w.<>, ]+ \w+ = \d+( \[.*\])?;|` + // a field
	`[A-Z][A-Z0-9_]* = \d+;` + // a value
	`)`)

func TestEverythingInTheContractIsDocumented(t *testing.T) {
	files, err := filepath.Glob("*.proto")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		before := ""
		for i, line := range strings.Split(readFile(t, file), "\n") {
			if declaration.MatchString(line) {
				found++
				if !strings.HasPrefix(strings.TrimSpace(before), "// ") {
					t.Errorf("%s:%d has no comment: %s", file, i+1, strings.TrimSpace(line))
				}
			}
			before = line
		}
	}
	if want := declarations(); found != want {
		t.Errorf("found %d declarations in the text, want %d as in the descriptors", found, want)
	}
}

// declarations counts what the generated descriptors say is declared.
func declarations() int {
	n := 0
	eachFile(func(f protoreflect.FileDescriptor) {
		for i := range f.Enums().Len() {
			n += 1 + f.Enums().Get(i).Values().Len()
		}
		for i := range f.Services().Len() {
			n += 1 + f.Services().Get(i).Methods().Len()
		}
	})
	eachMessage(func(m protoreflect.MessageDescriptor) {
		n += 1 + m.Fields().Len()
		for i := range m.Oneofs().Len() {
			if !m.Oneofs().Get(i).IsSynthetic() {
				n++
			}
		}
	})
	return n
}

func TestAnEventElementIsTheSameBytesInEveryMessage(t *testing.T) {
	event := (&millracev1.Event{}).ProtoReflect().Descriptor()
	for _, name := range []protoreflect.Name{"topic", "alias"} {
		if event.Fields().ByName(name) != nil {
			t.Errorf("Event has %s: its bytes would not suit every receiver", name)
		}
	}
	holders := 0
	eachMessage(func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			if f.Message() == nil || f.Message().FullName() != event.FullName() {
				continue
			}
			holders++
			if f.Number() != 1 || !f.IsList() {
				t.Errorf("%s is not repeated with number 1: an encoded element does not fit in", f.FullName())
			}
		}
	})
	if holders == 0 {
		t.Error("no message holds events")
	}
}

func TestNoMessageHasAMap(t *testing.T) {
	eachMessage(func(m protoreflect.MessageDescriptor) {
		for i := range m.Fields().Len() {
			if f := m.Fields().Get(i); f.IsMap() {
				t.Errorf("%s is a map, which is dear to encode and has no order", f.FullName())
			}
		}
	})
}

func eachFile(visit func(protoreflect.FileDescriptor)) {
	protoregistry.GlobalFiles.RangeFilesByPackage("millrace.v1", func(f protoreflect.FileDescriptor) bool {
		visit(f)
		return true
	})
}

func eachMessage(visit func(protoreflect.MessageDescriptor)) {
	eachFile(func(f protoreflect.FileDescriptor) {
		for i := range f.Messages().Len() {
			visit(f.Messages().Get(i))
		}
	})
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
