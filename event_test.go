package millrace_test

import (
	"bytes"
	"strings"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestAnEventIsChargedForAllThatItHolds(t *testing.T) {
	e := &millrace.Event{Topic: "t"}
	empty := e.Size()
	for _, add := range []func(text string){
		func(text string) { e.ID = text },
		func(text string) { e.Name = text },
		func(text string) { e.Key = text },
		func(text string) { e.ContentType = text },
		func(text string) { e.Data = []byte(text) },
		func(text string) { e.Sender.Session = text },
		func(text string) { e.Sender.Subject = text },
		func(text string) { e.Headers = append(e.Headers, millrace.Header{Name: text[:100], Value: text[100:]}) },
	} {
		before := e.Size()
		if add(strings.Repeat("x", 1000)); e.Size() < before+1000 {
			t.Errorf("1000 bytes more are charged as %d", e.Size()-before)
		}
	}
	if empty < 100 || e.Size() > empty+16_000 {
		t.Errorf("an empty event is charged as %d, one of 8,000 bytes as %d", empty, e.Size())
	}
}

func TestAPayloadIsWhatItsContentTypeSays(t *testing.T) {
	for contentType, want := range map[string]millrace.Payload{
		"":                                millrace.PayloadJSON,
		"application/json":                millrace.PayloadJSON,
		"Application/JSON":                millrace.PayloadJSON,
		"application/json; charset=UTF-8": millrace.PayloadJSON,
		"application/ld+json":             millrace.PayloadJSON,
		"text/plain":                      millrace.PayloadText,
		"text/html; charset=utf-8":        millrace.PayloadText,
		"text/plain; charset=us-ascii":    millrace.PayloadText,
		"text/plain; charset=latin1":      millrace.PayloadBinary,
		"application/json; charset=utf-7": millrace.PayloadBinary,
		"application/octet-stream":        millrace.PayloadBinary,
		"application/jsonl":               millrace.PayloadBinary,
		"image/svg+xml":                   millrace.PayloadBinary,
		"nonsense;;":                      millrace.PayloadBinary,
		"text/plain; charset":             millrace.PayloadBinary,
	} {
		if got := millrace.PayloadOf(contentType); got != want {
			t.Errorf("%q is payload %d, want %d", contentType, got, want)
		}
	}
}

func TestAnEnvelopeIsMadeOnceAndTheSameForAll(t *testing.T) {
	e := &millrace.Event{Data: []byte("x")}
	encode := func(e *millrace.Event) []byte { return append([]byte("<"), e.Data...) }
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if got := e.Envelope(encode); !bytes.Equal(got, []byte("<x")) {
				t.Errorf("encoded as %q", got)
			}
		})
	}
	all.Wait()
	first := e.Envelope(nil)
	if second := e.Envelope(nil); &first[0] != &second[0] {
		t.Error("the bytes are not shared")
	}
}
