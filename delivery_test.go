package millrace_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	deliverySection  = regexp.MustCompile(`^## (\d+)\. `)
	deliverySentence = regexp.MustCompile(`^(\d+)\. `)
	deliveryCitation = regexp.MustCompile(`docs/delivery\.md ((?:\d+\.\d+(?:, | and )?)+)`)
)

// Each sentence of the promise has a test that cites it, and no test cites one that there is not.
func TestEachSentenceOfThePromiseHasATest(t *testing.T) {
	sentences := map[string]string{}
	section := ""
	for line := range strings.SplitSeq(string(mustRead(t, "docs/delivery.md")), "\n") {
		if m := deliverySection.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if strings.HasPrefix(line, "## ") {
			section = ""
		}
		if m := deliverySentence.FindStringSubmatch(line); m != nil && section != "" {
			sentences[section+"."+m[1]] = line
		}
	}
	if len(sentences) == 0 {
		t.Fatal("docs/delivery.md has no sentences")
	}
	cited := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || path == "delivery_test.go" {
			return err
		}
		for _, m := range deliveryCitation.FindAllStringSubmatch(string(mustRead(t, path)), -1) {
			for _, number := range regexp.MustCompile(`\d+\.\d+`).FindAllString(m[1], -1) {
				if sentences[number] == "" {
					t.Errorf("%s cites docs/delivery.md %s, which there is not", path, number)
				}
				cited[number] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for number, sentence := range sentences {
		if !cited[number] {
			t.Errorf("no test cites docs/delivery.md %s: %s", number, sentence)
		}
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(fmt.Errorf("read %s: %w", path, err))
	}
	return b
}
