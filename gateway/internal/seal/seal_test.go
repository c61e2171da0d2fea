package seal_test

import (
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/seal"
)

var key = []byte("0123456789abcdef")

func TestASealIsOpenedByItsKeyAndForItsSubjectAlone(t *testing.T) {
	h := seal.Holder{ID: seal.ID{1, 2, 3}, Generation: 7, At: time.Unix(1_800_000_000, 0)}
	text := seal.New(key).Seal(h, "alice")
	if got, ok := seal.New(key).Open(text, "alice"); !ok || got != h {
		t.Errorf("opened as %+v, %t", got, ok)
	}
	for name, open := range map[string]func() (seal.Holder, bool){
		"another subject": func() (seal.Holder, bool) { return seal.New(key).Open(text, "bob") },
		"another key":     func() (seal.Holder, bool) { return seal.New([]byte("fedcba9876543210")).Open(text, "alice") },
		"a changed seal":  func() (seal.Holder, bool) { return seal.New(key).Open(strings.Replace(text, "s.A", "s.B", 1), "alice") },
		"half of it":      func() (seal.Holder, bool) { return seal.New(key).Open(text[:len(text)/2], "alice") },
		"nothing":         func() (seal.Holder, bool) { return seal.New(key).Open("", "alice") },
		"a permit instead": func() (seal.Holder, bool) {
			return seal.New(key).Open(seal.New(key).Permit("s", "alice", "a"), "alice")
		},
	} {
		if _, ok := open(); ok {
			t.Errorf("%s opens it", name)
		}
	}
}

// Each part of what a permit says is told apart from the others, wherever one ends.
func TestAPermitIsOfOneSessionSubjectTopicAndKey(t *testing.T) {
	s := seal.New(key)
	permit := s.Permit("session", "alice", "a:1")
	if len(permit) != seal.PermitBytes || s.Permit("session", "alice", "a:1") != permit {
		t.Errorf("the permit is %q", permit)
	}
	for name, other := range map[string]string{
		"session":           s.Permit("sessiom", "alice", "a:1"),
		"subject":           s.Permit("session", "alicf", "a:1"),
		"topic":             s.Permit("session", "alice", "a:2"),
		"border of both":    s.Permit("session", "1alice", "a:"),
		"border of session": s.Permit("sessiona", "alice", ":1"),
		"key":               seal.New([]byte("fedcba9876543210")).Permit("session", "alice", "a:1"),
	} {
		if other == permit {
			t.Errorf("another %s has the same permit", name)
		}
	}
}
