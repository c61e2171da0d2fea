package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/socket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ gateway.Transport = (*socket.Conn)(nil)

// pair returns both ends of a TCP connection.
func pair(t testing.TB) (ours, theirs *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	there, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	here, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here.(*net.TCPConn), there.(*net.TCPConn)
}

func open(t testing.TB, conn net.Conn, c socket.Config) *socket.Conn {
	t.Helper()
	s, err := socket.New(conn, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill writes until the socket takes no more, and returns how much it took.
func fill(t *testing.T, s *socket.Conn) int {
	t.Helper()
	b, total := make([]byte, 64<<10), 0
	for {
		n, err := s.TryWrite(b)
		if err != nil {
			t.Fatal(err)
		}
		total += n
		if n == 0 {
			return total
		}
	}
}

func TestTryWriteTakesWhatTheSocketTakesAndDoesNotWait(t *testing.T) {
	ours, theirs := pair(t)
	s := open(t, ours, socket.Config{})
	total := fill(t, s)
	if total == 0 {
		t.Fatal("the socket took nothing")
	}
	if n, err := io.ReadFull(theirs, make([]byte, total)); n != total || err != nil {
		t.Fatalf("the peer read %d of %d: %v", n, total, err)
	}
}

func TestTryWriteReportsThatThePeerIsGone(t *testing.T) {
	ours, theirs := pair(t)
	s := open(t, ours, socket.Config{})
	if err := theirs.SetLinger(0); err != nil { // Close sends a reset
		t.Fatal(err)
	}
	theirs.Close()
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		t.Fatal("want the reset to have arrived")
	}
	_, err := s.TryWrite([]byte("x"))
	if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v", err)
	}
	ours.Close()
	if _, err := s.TryWrite([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: got %v", err)
	}
}

func TestWriteWaitsForASlowPeerAndTryWriteGoesOnBehindIt(t *testing.T) {
	ours, theirs := pair(t)
	s := open(t, ours, socket.Config{})
	rest := bytes.Repeat([]byte("r"), 1<<20)
	total := fill(t, s) + len(rest) + 1
	read := make(chan error)
	go func() {
		_, err := io.ReadFull(theirs, make([]byte, total))
		read <- err
	}()
	if err := s.Write(rest); err != nil {
		t.Fatal(err)
	}
	for n := 0; n == 0; {
		var err error
		if n, err = s.TryWrite([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
}

func TestWriteGivesUpAPeerThatTakesNothing(t *testing.T) {
	ours, _ := pair(t)
	s := open(t, ours, socket.Config{StallTimeout: time.Millisecond})
	fill(t, s)
	err := s.Write(make([]byte, 8<<20))
	if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonSlow {
		t.Errorf("got %v, want slow", err)
	}
}

func TestCloseEndsTheWaitOfWrite(t *testing.T) {
	ours, _ := pair(t)
	s := open(t, ours, socket.Config{StallTimeout: time.Hour})
	fill(t, s)
	done := make(chan error)
	go func() { done <- s.Write(make([]byte, 8<<20)) }()
	s.Close()
	if err := <-done; err == nil {
		t.Error("the write went through")
	}
}

func TestCloseLetsTheLastWordsArriveAndThePeerFinish(t *testing.T) {
	ours, theirs := pair(t)
	s := open(t, ours, socket.Config{})
	if _, err := s.TryWrite([]byte("bye")); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.Close()
	if b, err := io.ReadAll(theirs); string(b) != "bye" || err != nil {
		t.Fatalf("the peer read %q: %v", b, err)
	}
	if _, err := theirs.Write([]byte("bye, too")); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	if b, err := io.ReadAll(ours); string(b) != "bye, too" || err != nil {
		t.Errorf("read %q: %v", b, err)
	}
}

func TestAPeerThatDoesNotFinishIsNotWaitedForLongerThanTheLinger(t *testing.T) {
	ours, _ := pair(t)
	open(t, ours, socket.Config{Linger: time.Millisecond}).Close()
	if _, err := ours.Read(make([]byte, 1)); err == nil {
		t.Error("want the read to fail")
	}
}

// Connections that are no TCP sockets take the plain path.
func TestOnOtherConnectionsEveryWriteMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		defer ours.Close()
		s := open(t, ours, socket.Config{StallTimeout: time.Minute})
		if n, err := s.TryWrite([]byte("x")); n != 0 || err != nil {
			t.Errorf("TryWrite: got %d %v", n, err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Write(bytes.Repeat([]byte("w"), 3)) }()
		for range 3 { // two minutes and a half between them, but never a whole one without progress
			<-time.After(50 * time.Second)
			if _, err := theirs.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Errorf("Write: %v", err)
		}
		start := time.Now()
		err := s.Write([]byte("x"))
		if e, ok := errors.AsType[*millrace.Error](err); !ok || e.Reason != millrace.ReasonSlow || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want slow after a minute", err, time.Since(start))
		}
		s.Close()
		if _, err := ours.Read(make([]byte, 1)); err == nil {
			t.Error("want the read to fail at once")
		}
	})
}

func TestTryWriteAllocatesNothing(t *testing.T) {
	ours, theirs := pair(t)
	drain(t, theirs)
	s, b := open(t, ours, socket.Config{}), []byte("0123456789")
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.TryWrite(b); err != nil {
			t.Error(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// drain reads a connection until it ends.
func drain(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<20)
		for {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
}

// BenchmarkWrite compares a write that does not wait with the bare system call and with net.Conn.
func BenchmarkWrite(b *testing.B) {
	event := make([]byte, 256)
	for _, c := range []struct {
		name string
		make func(b *testing.B, conn *net.TCPConn) func() error
	}{
		{"TryWrite", func(b *testing.B, conn *net.TCPConn) func() error {
			s := open(b, conn, socket.Config{})
			return func() error { _, err := s.TryWrite(event); return err }
		}},
		{"Conn", func(_ *testing.B, conn *net.TCPConn) func() error {
			return func() error { _, err := conn.Write(event); return err }
		}},
		{"write(2)", func(b *testing.B, conn *net.TCPConn) func() error {
			fd := 0
			raw, err := conn.SyscallConn()
			if err == nil {
				err = raw.Control(func(p uintptr) { fd = int(p) })
			}
			if err != nil {
				b.Fatal(err)
			}
			return func() error {
				if _, err := syscall.Write(fd, event); err != nil && !errors.Is(err, syscall.EAGAIN) {
					return err
				}
				return nil
			}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			ours, theirs := pair(b)
			drain(b, theirs)
			write := c.make(b, ours)
			b.ReportAllocs()
			for b.Loop() {
				if err := write(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
