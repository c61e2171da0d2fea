package proxy_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace/bench/chaos/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection through a proxy and its other end.
type pair struct {
	proxy          *proxy.Proxy
	client, server net.Conn
}

func connect(t *testing.T, c proxy.Config) pair {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, err := proxy.Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	p.Aim(l.Addr().String())
	client, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return pair{proxy: p, client: client, server: server}
}

// send writes on one side and reads on the other.
func send(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len(text))
	if _, err := io.ReadFull(to, b); err != nil || string(b) != text {
		t.Fatalf("got %q, %v; want %q", b, err, text)
	}
}

func TestBytesPassBothWays(t *testing.T) {
	p := connect(t, proxy.Config{})
	send(t, p.client, p.server, "there")
	send(t, p.server, p.client, "and back")
}

func TestAnEndInOrderLetsWhatIsOnItsWayArrive(t *testing.T) {
	p := connect(t, proxy.Config{})
	if _, err := io.WriteString(p.server, "last words"); err != nil {
		t.Fatal(err)
	}
	p.server.Close()
	if b, err := io.ReadAll(p.client); err != nil || string(b) != "last words" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestACutEndsBothSides(t *testing.T) {
	p := connect(t, proxy.Config{})
	send(t, p.client, p.server, "x")
	if n := p.proxy.Cut(proxy.All); n != 1 {
		t.Fatalf("%d connections were cut", n)
	}
	for _, c := range []net.Conn{p.client, p.server} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a side goes on")
		}
	}
}

func TestAHungConnectionIsHalfOpenUntilItIsHealed(t *testing.T) {
	p := connect(t, proxy.Config{})
	send(t, p.client, p.server, "x")
	hung := p.proxy.Hang(proxy.All)
	if _, err := io.WriteString(p.server, "held"); err != nil {
		t.Fatal(err)
	}
	if err := p.client.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := p.client.Read(make([]byte, 8)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes passed, %v", n, err)
	}
	hung.Heal()
	if err := p.client.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(p.client, b); err != nil || string(b) != "held" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestASlowConnectionIsWholeAndGoesOnFasterOnceHealed(t *testing.T) {
	p := connect(t, proxy.Config{})
	slow := p.proxy.Slow(proxy.All, 200)
	text := bytes.Repeat([]byte("0123456789"), 10_000)
	go func() {
		p.server.Write(text)
		p.server.Close()
	}()
	b := make([]byte, 20)
	if _, err := io.ReadFull(p.client, b); err != nil {
		t.Fatal(err)
	}
	slow.Heal()
	rest, err := io.ReadAll(p.client)
	if err != nil || !bytes.Equal(slices.Concat(b, rest), text) {
		t.Fatalf("%d bytes came, %v", len(b)+len(rest), err)
	}
}

func TestATapRewritesWhatTheTargetSays(t *testing.T) {
	p := connect(t, proxy.Config{Tap: func() proxy.Tap { return bytes.ToUpper }})
	send(t, p.client, p.server, "as it is")
	if _, err := io.WriteString(p.server, "louder"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 6)
	if _, err := io.ReadFull(p.client, b); err != nil || string(b) != "LOUDER" {
		t.Fatalf("got %q, %v", b, err)
	}
}
