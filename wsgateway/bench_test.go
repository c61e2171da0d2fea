package wsgateway_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/httpapi"
	"github.com/millrace-dev/millrace/wsgateway"
)

// BenchmarkFanOut writes events to 1,000 WebSockets on loopback and waits until their peers have read them. An operation is
// one delivery. The CPU time is the process's, so it is also that of the peers' reading; bench has the server's alone.
func BenchmarkFanOut(b *testing.B) {
	for _, batch := range []int{1, 16} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { fanOut(b, 1000, batch) })
	}
}

func fanOut(b *testing.B, sessions, batch int) {
	origins, err := httpapi.NewOrigins(nil)
	if err != nil {
		b.Fatal(err)
	}
	wires := wsgateway.NewWires(time.Minute, time.Minute)
	broker := gatewaytest.NewBroker()
	defer broker.Close()
	g, err := gateway.New(gateway.Config{Log: slog.New(slog.DiscardHandler)}, broker, wires.JSON, wires.Protobuf)
	if err != nil {
		b.Fatal(err)
	}
	handler := wsgateway.New(wsgateway.Config{Origins: origins}, g, wires, doorman{})
	mux := http.NewServeMux()
	mux.Handle("/v1/ws", handler)
	server := httptest.NewServer(mux)
	var readers sync.WaitGroup
	var conns []*websocket.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
		readers.Wait()
		g.Close()
		server.Close()
		handler.Close()
	}()
	var read atomic.Int64
	for range sessions {
		c, resp, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/v1/ws?topic=a", nil)
		if err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
		conns = append(conns, c)
		for range 2 { // connected, subscribed
			if _, _, err := c.ReadMessage(); err != nil {
				b.Fatal(err)
			}
		}
	}
	texts := make([]string, batch)
	for i := range texts {
		texts[i] = strings.Repeat("x", 128)
	}
	publish := func() {
		broker.Put("a", texts...)
		broker.Trim("a", batch)
	}
	publish()
	size := 0
	for _, c := range conns {
		for range batch {
			_, m, err := c.ReadMessage()
			if err != nil {
				b.Fatal(err)
			}
			size = len(m)
		}
		readers.Go(func() { count(c, &read) })
	}
	// Offsets and marks differ in their number of digits, so the last few bytes of a batch are not waited for.
	least := int64(batch*sessions) * int64(size-8)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	n := 0
	for ; n < b.N; n += sessions * batch {
		read.Store(0)
		publish()
		for read.Load() < least {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(n), "cpu-ns/op")
}

// count adds up what comes on a connection until it ends.
func count(c *websocket.Conn, read *atomic.Int64) {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.NetConn().Read(buf)
		if err != nil {
			return
		}
		read.Add(int64(n))
	}
}

// cpu is the process's user and system time in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
