package rpc_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// The links of the benchmarks end in a process of their own, so that what this process uses is the broker's side alone.
// That process is this test binary again, with these variables set.
const (
	sinkAddr  = "MILLRACE_BENCH_SINK"  // where the broker is
	sinkLinks = "MILLRACE_BENCH_LINKS" // how many links to open
)

// stride is how many events of a link a sink reports at once, by one byte that is the link's number.
const stride = 512

// payload is 200 bytes of JSON.
var payload = append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 198)...), '"')

// sink is the other process.
func sink(addr string, out io.Writer) error {
	var links int
	if _, err := fmt.Sscan(os.Getenv(sinkLinks), &links); err != nil {
		return fmt.Errorf("read %s: %w", sinkLinks, err)
	}
	var reading sync.WaitGroup
	var mu sync.Mutex
	for i := range links {
		reading.Go(func() {
			err := drain(addr, func() {
				mu.Lock()
				defer mu.Unlock()
				if _, err := out.Write([]byte{byte(i)}); err != nil {
					panic(err)
				}
			})
			fmt.Fprintln(os.Stderr, "link", i, "ended:", err)
		})
	}
	reading.Wait()
	return nil
}

// drain reads all events of the topic by a link and reports once for each stride. It does not decode them.
func drain(addr string, report func()) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	desc := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	stream, err := conn.NewStream(context.Background(), desc, "/millrace.v1.BrokerService/Join", grpc.ForceCodecV2(raw{}))
	if err != nil {
		return err
	}
	hello, err := proto.Marshal(&millracev1.JoinRequest{Commands: []*millracev1.Command{
		{Kind: &millracev1.Command_Hello{Hello: &millracev1.Hello{}}},
		subscribe(1, "a", millrace.Start{Kind: millrace.StartEarliest}),
	}})
	if err != nil {
		return err
	}
	if err := stream.SendMsg(hello); err != nil {
		return err
	}
	var m []byte
	for unreported := 0; ; {
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		for unreported += count(m); unreported >= stride; unreported -= stride {
			report()
		}
	}
}

// count returns how many events a JoinResponse has.
func count(m []byte) int {
	n := 0
	for len(m) > 0 {
		_, _, size := protowire.ConsumeTag(m)
		m = m[size:]
		update, size := protowire.ConsumeBytes(m)
		m = m[size:]
		for len(update) > 0 {
			field, kind, size := protowire.ConsumeTag(update)
			update = update[size:]
			if field != 3 {
				update = update[protowire.ConsumeFieldValue(field, kind, update):]
				continue
			}
			batch, size := protowire.ConsumeBytes(update)
			update = update[size:]
			for len(batch) > 0 {
				_, _, size := protowire.ConsumeField(batch)
				batch = batch[size:]
				n++
			}
		}
	}
	return n
}

// sinks are links in the other process.
type sinks struct {
	reports *bufio.Reader
	got     []int // events of each
}

func openSinks(b *testing.B, f *front, links int) *sinks {
	b.Helper()
	if links == 0 {
		return &sinks{}
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), sinkAddr+"="+f.addr, fmt.Sprint(sinkLinks, "=", links))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			b.Error(err)
		}
		if err := cmd.Wait(); err == nil {
			b.Error("the sink ended by itself")
		}
	})
	return &sinks{reports: bufio.NewReader(out), got: make([]int, links)}
}

// wait waits until all links have so many events.
func (s *sinks) wait(b *testing.B, events int) {
	b.Helper()
	for {
		least := events
		for _, got := range s.got {
			least = min(least, got)
		}
		if least >= events {
			return
		}
		i, err := s.reports.ReadByte()
		if err != nil {
			b.Fatal(err)
		}
		s.got[i] += stride
	}
}

// measure reports what the process uses while f runs, for each delivery.
func measure(b *testing.B, deliveries int, f func()) {
	b.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	used := cpu(b)
	b.ResetTimer()
	f()
	b.StopTimer()
	used = cpu(b) - used
	runtime.ReadMemStats(&after)
	n := float64(deliveries)
	b.ReportMetric(float64(used)/n, "cpu-ns/delivery")
	b.ReportMetric(n/(float64(used)/1e9), "deliveries/cpu-s")
	b.ReportMetric(float64(after.Mallocs-before.Mallocs)/n, "allocs/delivery")
}

// cpu returns the processor time that the process has used, in nanoseconds.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// strides returns n rounded up to whole strides.
func strides(n int) int { return (n + stride - 1) / stride * stride }

// BenchmarkLink is what it costs to read stored events from the log and send them on one link, so many of them in a
// message: for the first time, which encodes them, and again.
func BenchmarkLink(b *testing.B) {
	for _, batch := range []int{1, 16, 64, 512} {
		for _, pass := range []string{"first", "again"} {
			b.Run(fmt.Sprintf("batch=%d/%s", batch, pass), func(b *testing.B) {
				n := strides(b.N)
				f := serve(b, rpc.Config{BatchEvents: batch}, bounds{
					log: memlog.Config{Rules: []broker.Rule{{MaxEvents: n, MaxBytes: 1 << 40}}, MaxBytes: 1 << 40},
				})
				f.publishData("a", n, func(int) []byte { return payload })
				if pass == "again" {
					openSinks(b, f, 1).wait(b, n)
				}
				measure(b, n, func() { openSinks(b, f, 1).wait(b, n) })
			})
		}
	}
}

// BenchmarkPublishToLinks is what it costs to publish events, 16 at a time in this process, and bring them to links.
func BenchmarkPublishToLinks(b *testing.B) {
	for _, links := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("links=%d", links), func(b *testing.B) {
			n := strides(b.N)
			f := serve(b, rpc.Config{})
			s := openSinks(b, f, links)
			const ahead = 512 // no more than the log keeps
			publish := func(until, from int) {
				for sent := from; sent < until; sent += 16 {
					s.wait(b, sent-ahead)
					list := make([]millrace.Publish, 16)
					for i := range list {
						list[i].Event = &millrace.Event{Topic: "a", Data: payload}
					}
					if _, err := f.broker.Publish(context.Background(), list); err != nil {
						b.Fatal(err)
					}
				}
				s.wait(b, until)
			}
			publish(stride, 0)
			measure(b, n*max(1, links), func() { publish(stride+n, stride) })
		})
	}
}
