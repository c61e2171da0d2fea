package gatewaytest

import (
	"bytes"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/gateway"
)

// TransportHarness is a Transport under test and the far end of its connection.
type TransportHarness struct {
	Transport gateway.Transport
	Peer      io.Reader // yields the bytes that were handed over, and ends with the connection
	Cut       func()    // breaks the connection at the peer's end
	Holds     int       // more bytes than the connection holds while the peer does not read
}

// TestTransport holds a Transport to its promises. Each is a subtest with a connection of its own, which open makes and
// which is closed by the test.
func TestTransport(t *testing.T, open func(t *testing.T) TransportHarness) {
	for _, promise := range []struct {
		name string
		hold func(e end)
	}{
		{"what is handed over arrives whole and in order", end.whole},
		{"TryWrite does not wait for a peer that does not read", end.tries},
		{"Write waits for the peer, and hands over all", end.waits},
		{"Close ends a Write that waits", end.closes},
		{"what was handed over before Close still arrives", end.lasts},
		{"Close may be called many times, by many", end.closesOften},
		{"what was handed over is not kept", end.keepsNothing},
		{"a broken connection is an error in the end", end.breaks},
	} {
		t.Run(promise.name, func(t *testing.T) { promise.hold(end{t, open(t)}) })
	}
}

type end struct {
	*testing.T
	TransportHarness
}

// pattern is bytes that tell their place.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// hand hands over all of b, as a session does: what TryWrite does not take is written.
func (e end) hand(b []byte) {
	e.Helper()
	n, err := e.Transport.TryWrite(b)
	if err == nil && n < len(b) {
		err = e.Transport.Write(b[n:])
	}
	if err != nil {
		e.Errorf("hand over: %v", err)
	}
}

// expect reads what must come next.
func (e end) expect(want []byte) {
	e.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(e.Peer, got); err != nil {
		e.Fatalf("read %d bytes of %d: %v", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		e.Fatal("the bytes are not those that were handed over")
	}
}

// within fails the test if f does not return soon.
func (e end) within(what string, f func()) {
	e.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		e.Fatalf("%s still waits after %v", what, patience)
	}
}

// fill tries to write until nothing more is taken, and returns what was.
func (e end) fill() []byte {
	e.Helper()
	var taken []byte
	e.within("TryWrite", func() {
		b := pattern(64 << 10)
		for range e.Holds/len(b) + 2 {
			n, err := e.Transport.TryWrite(b)
			if err != nil {
				e.Errorf("try to write: %v", err)
				return
			}
			taken = append(taken, b[:n]...)
			if n == 0 {
				return
			}
		}
	})
	return taken
}

func (e end) whole() {
	defer e.Transport.Close()
	sent := pattern(3 << 20)
	var writer sync.WaitGroup
	writer.Go(func() {
		for rest, n := sent, 1; len(rest) > 0; n = n*3 + 1 {
			n = min(n%100_000+1, len(rest))
			e.hand(rest[:n])
			rest = rest[n:]
		}
	})
	e.expect(sent)
	writer.Wait()
}

func (e end) tries() {
	defer e.Transport.Close()
	taken := e.fill()
	if len(taken) > e.Holds {
		e.Errorf("%d bytes were taken; the connection holds less than %d", len(taken), e.Holds)
	}
	e.expect(taken)
}

func (e end) waits() {
	defer e.Transport.Close()
	taken := e.fill()
	sent := pattern(e.Holds + 1)
	done := make(chan error, 1)
	go func() { done <- e.Transport.Write(sent) }()
	e.expect(taken)
	select {
	case err := <-done:
		e.Errorf("Write returned (%v) before the peer could take all", err)
	default:
	}
	e.expect(sent)
	e.within("Write", func() {
		if err := <-done; err != nil {
			e.Errorf("write: %v", err)
		}
	})
}

func (e end) closes() {
	e.fill()
	done := make(chan error, 1)
	go func() { done <- e.Transport.Write(pattern(e.Holds + 1)) }()
	e.within("Close", e.Transport.Close)
	e.within("Write after Close", func() {
		if err := <-done; err == nil {
			e.Error("Write handed over what nobody read")
		}
	})
	if n, err := e.Transport.TryWrite([]byte("x")); err == nil && n > 0 {
		e.Error("TryWrite took bytes after Close")
	}
}

func (e end) lasts() {
	last := pattern(1000)
	go func() {
		e.hand(last)
		e.Transport.Close()
	}()
	e.within("the peer", func() {
		got, err := io.ReadAll(e.Peer)
		if err != nil || !bytes.Equal(got, last) {
			e.Errorf("read %d bytes of %d: %v", len(got), len(last), err)
		}
	})
}

func (e end) closesOften() {
	var closers sync.WaitGroup
	for range 10 {
		closers.Go(e.Transport.Close)
	}
	e.within("Close", closers.Wait)
	e.Transport.Close()
}

func (e end) keepsNothing() {
	defer e.Transport.Close()
	sent := pattern(4 << 20)
	var writer sync.WaitGroup
	writer.Go(func() {
		b := make([]byte, 50_000)
		for rest := sent; len(rest) > 0; {
			n := copy(b, rest)
			e.hand(b[:n])
			rest = rest[n:]
			clear(b)
		}
	})
	e.expect(sent)
	writer.Wait()
}

func (e end) breaks() {
	defer e.Transport.Close()
	e.Cut()
	e.within("a write to a broken connection", func() {
		for range 1000 {
			n, err := e.Transport.TryWrite([]byte("x"))
			if err == nil && n == 0 {
				err = e.Transport.Write([]byte("x"))
			}
			if err != nil {
				return
			}
			// What the kernel took before it knew is not an error yet; a Write of more than it holds must find out.
			if err := e.Transport.Write(pattern(e.Holds)); err != nil {
				return
			}
		}
		e.Error("a broken connection takes everything")
	})
}
