package seal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/seal"
)

var (
	key    = []byte("a key of the same gateways")
	holder = seal.Holder{ID: seal.ID{1, 2, 3}, Generation: 7, At: time.Unix(1_790_000_000, 0)}
)

func TestASealTellsItsHolderToWhoHasTheKeyAndTheSubject(t *testing.T) {
	text := seal.New(key).Seal(holder, "alice")
	if got, ok := seal.New(key).Open(text, "alice"); !ok || got != holder {
		t.Errorf("opened %+v (%v), want %+v", got, ok, holder)
	}
	for name, open := range map[string]func() (seal.Holder, bool){
		"another subject": func() (seal.Holder, bool) { return seal.New(key).Open(text, "bob") },
		"another key":     func() (seal.Holder, bool) { return seal.New([]byte("the key of a stranger")).Open(text, "alice") },
		"no seal":         func() (seal.Holder, bool) { return seal.New(key).Open("", "alice") },
	} {
		if got, ok := open(); ok || got != (seal.Holder{}) {
			t.Errorf("%s: opened %+v", name, got)
		}
	}
}

func TestASealThatWasChangedDoesNotOpen(t *testing.T) {
	s := seal.New(key)
	text := s.Seal(holder, "alice")
	for i := len("s."); i < len(text); i++ {
		for _, c := range []string{"A", "B", "_"} {
			changed := text[:i] + c + text[i+1:]
			if got, ok := s.Open(changed, "alice"); ok && got != holder {
				t.Errorf("%q opens as %+v", changed, got)
			}
		}
	}
}

// FuzzOpen holds that nothing opens but what was sealed, whatever strangers send.
func FuzzOpen(f *testing.F) {
	s := seal.New(key)
	text := s.Seal(holder, "alice")
	for _, seed := range []string{text, text[2:], text + "A", strings.ToLower(text), "s.", "", "s.!", "s." + strings.Repeat("A", 60)} {
		f.Add(seed, "alice")
	}
	f.Add(s.Seal(holder, ""), "")
	f.Fuzz(func(t *testing.T, text, subject string) {
		h, ok := s.Open(text, subject)
		if !ok {
			if h != (seal.Holder{}) {
				t.Errorf("%q does not open, but tells %+v", text, h)
			}
			return
		}
		again, ok := s.Open(s.Seal(h, subject), subject)
		if !ok || again != h {
			t.Errorf("%q opens as %+v, sealed anew as %+v", text, h, again)
		}
	})
}
