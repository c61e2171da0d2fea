package main_test

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
)

// strait is a narrow way to a broker: what comes from it passes up to a bound, and no more until it is opened. Then it passes
// in small pieces.
type strait struct {
	addr string
	open func()
}

// newStrait lets bound bytes pass from the broker at addr before it is opened.
func newStrait(t *testing.T, addr string, bound int64) *strait {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	open := sync.OnceFunc(func() { close(opened) })
	var passing sync.WaitGroup
	pass := func(near net.Conn) {
		far, err := net.Dial("tcp", addr)
		if err != nil {
			near.Close()
			return
		}
		t.Cleanup(func() { near.Close(); far.Close() })
		passing.Go(func() { _, _ = io.Copy(far, near) }) // ends with its connections, as all that follows
		passing.Go(func() {
			if _, err := io.CopyN(near, far, bound); err != nil {
				return
			}
			<-opened
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if _, err := io.CopyN(near, far, 16<<10); err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(passing.Wait)
	passing.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			pass(near)
		}
	})
	t.Cleanup(open)
	t.Cleanup(func() { l.Close() })
	return &strait{addr: l.Addr().String(), open: open}
}

// A link that is slower than its topics falls back to what the log has: nothing that it keeps is lost, nothing that it does
// not is silent, the broker holds no queue for it, and other links have everything meanwhile.
// Promise: docs/delivery.md 6.1.
func TestALinkThatIsSlowerThanItsTopicsReadsTheLog(t *testing.T) {
	const (
		kept, brief           = "kept:1", "brief:1"
		keptBytes, briefBytes = 4 << 10, 40 << 10 // of each event
		rounds, burst         = 2560, 10          // 10 MB of the one and 100 MB of the other
		logs                  = 12 << 20          // what the broker keeps of both
	)
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {pattern: 'kept:*', max_bytes: 64MiB, max_events: 10000}\n  - {pattern: 'brief:*', max_bytes: 1MiB}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := start(t, "broker", "--listen", "127.0.0.1:0", "--config", rules)
	broker := dialBroker(t, b.addr("grpc"))
	narrow := newStrait(t, b.addr("grpc"), 1<<20)
	gateway := func(addr string) *process {
		return start(t, "wsgateway", "--listen", "127.0.0.1:0", "--broker", addr, "--anonymous")
	}
	const path = "/v1/ws?topic=" + kept + "&topic=" + brief
	slowGateway := gateway(narrow.addr)
	slow := crowd(t, slowGateway.addr("http"), path, 3, webSocket)
	quick := crowd(t, gateway(b.addr("grpc")).addr("http"), path, 3, webSocket)
	readTo(t, append(slow[:3:3], quick...), map[string]millrace.Position{kept: {}, brief: {}})

	published := map[string][]millrace.Position{}
	before := b.peak()
	for range rounds / burst {
		publishEach(t, broker, published, map[string]int{kept: keptBytes, brief: briefBytes}, burst)
		readTo(t, quick, headsOf(published))
	}
	// The collector lets the heap be twice of what is in use. The rest is buffers of gRPC, and garbage of 100 MB that passed.
	const garbage, fixed = 2, 32 << 20
	grown := b.peak() - before
	t.Logf("the broker grew by %d MB at the most; it keeps %d MB, and %d MB did not pass", grown>>20, logs>>20, rounds*(keptBytes+briefBytes)>>20)
	if grown > garbage*logs+fixed {
		t.Errorf("the broker grew by %d bytes while a link took nothing", grown)
	}
	for i, m := range quick {
		for topic, all := range published {
			if missed, err := m.check(topic, all); missed > 0 || err != nil {
				t.Fatalf("peer %d of the quick link missed %d events of %s: %v", i+1, missed, topic, err)
			}
		}
	}

	narrow.open()
	readTo(t, slow, headsOf(published))
	for i, m := range slow {
		if missed, err := m.check(kept, published[kept]); missed > 0 || err != nil {
			t.Fatalf("peer %d of the slow link missed %d events that the log has: %v", i+1, missed, err)
		}
		if missed, err := m.check(brief, published[brief]); missed == 0 || err != nil {
			t.Fatalf("peer %d of the slow link missed %d events; the log lost most of them: %v", i+1, missed, err)
		}
	}
}
