package ssegateway_test

import (
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/gateway"
)

// DESIGN promise 8, where the connection is shared and every write takes the plain path: a stream that is not read holds the
// rest of one write and what the HTTP/2 server has for it, whatever is published.
// Promise: docs/delivery.md 6.2.
func TestWhatAStalledStreamOfASharedConnectionHoldsIsBounded(t *testing.T) {
	const (
		streams = 100
		batch   = 16 << 10
		event   = 8 << 10
		rounds  = 500 // 4 MB for each stream, 400 MB for all
		client  = 16 << 10
		buffers = 16 << 10 // of the HTTP/2 server and client, and two goroutines
		fixed   = 4 << 20  // tail, log and connections
	)
	h := build(t, plan{http2: true, gateway: gateway.Config{TailEvents: 8, BatchBytes: batch}})
	transport, ok := h.server.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the test's client has another transport")
	}
	transport.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: client}
	for range streams {
		if resp := h.get("topic=a", nil); resp.ProtoMajor != 2 {
			t.Fatalf("got %s", resp.Proto)
		}
	}
	healthy := h.open("topic=a", "")
	healthy.until("subscribed")
	data := `"` + strings.Repeat("x", event) + `"`
	h.put("a", data)
	healthy.wants(data)
	before := heapBytes()
	var most uint64
	for i := range rounds {
		h.put("a", data)
		healthy.wants(data)
		h.broker.Trim("a", 8)
		if i%50 == 0 {
			most = max(most, heapBytes())
		}
	}
	grown := int64(max(most, heapBytes())) - int64(before)
	t.Logf("%d KiB a stream", grown/streams>>10)
	if grown > streams*(batch+event+client+buffers)+fixed {
		t.Errorf("the heap grew by %d bytes", grown)
	}
}

func heapBytes() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
