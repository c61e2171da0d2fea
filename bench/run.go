package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// outcome is what one run gave.
type outcome struct {
	latencies  distribution
	deliveries uint64
	faults     uint64 // deliveries to healthy peers that were lost, repeated or out of order
	cpu        time.Duration
	rss        int64 // of the gateway at the end, in bytes
	queued     int64 // what the kernel holds for the peers that read nothing, each, in bytes
}

// perDelivery returns microseconds of CPU of broker and gateway.
func (o outcome) perDelivery() float64 {
	return float64(o.cpu.Nanoseconds()) / 1e3 / float64(max(o.deliveries, 1))
}

func (o outcome) String() string {
	s := fmt.Sprintf("p50 %s, p99 %s, max %s; %d deliveries, %d faults; gateway %.0f MiB RSS", milliseconds(o.latencies.quantile(0.5)),
		milliseconds(o.latencies.quantile(0.99)), milliseconds(o.latencies.quantile(1)), o.deliveries, o.faults, float64(o.rss)/(1<<20))
	if o.queued > 0 {
		s += fmt.Sprintf("; the kernel holds %d KiB for each that is stalled", o.queued>>10)
	}
	return s
}

// run starts the servers, lets those stall that the setting wants, and measures the healthy peers.
func (c comparison) run(s setting) (o outcome, err error) {
	broker, gateway, err := c.start()
	defer func() {
		for _, p := range []*server{gateway, broker} {
			if p != nil {
				err = errors.Join(err, p.stop())
			}
		}
	}()
	if err != nil {
		return o, err
	}
	const path = "/v1/ws?topic=" + topic
	if s == beside {
		asleep, err := stall(gateway.address, path, c.stalled)
		defer func() {
			for _, conn := range asleep {
				conn.Close()
			}
		}()
		if err != nil {
			return o, err
		}
	}
	healthy, err := connect(gateway.address, path, c.healthy)
	if err != nil {
		return o, err
	}
	defer healthy.close()
	conn, err := grpc.NewClient(broker.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return o, err
	}
	defer conn.Close()
	l := load{client: millracev1.NewBrokerServiceClient(conn), healthy: healthy}
	if err := l.fill(); err != nil {
		return o, err
	}
	full, err := unsent(gateway.address)
	if err != nil {
		return o, err
	}
	cpu, err := cpuOf(broker, gateway)
	if err != nil {
		return o, err
	}
	if err := l.measure(c); err != nil {
		return o, err
	}
	end, err := cpuOf(broker, gateway)
	if err != nil {
		return o, err
	}
	if o.rss, err = gateway.rss(); err != nil {
		return o, err
	}
	after, err := unsent(gateway.address)
	if err != nil {
		return o, err
	}
	if s == beside {
		o.queued = after / int64(c.stalled)
		if took := after - full; took > int64(c.stalled*fillBytes)/2 { // probes get a little across; the rest of an event still waits
			return o, fmt.Errorf("those that were to be stalled took %d bytes meanwhile", took)
		}
	}
	healthy.close()
	o.cpu = end - cpu
	o.latencies = between(healthy.arrivals, 0, math.MaxInt64)
	o.deliveries, o.faults = uint64(len(healthy.arrivals)), healthy.faults.Load()
	return o, nil
}

// start starts a broker and a gateway that cuts nobody off during a run.
func (c comparison) start() (broker, gateway *server, err error) {
	if broker, err = serve("grpc", c.binary, "broker", "--listen", "127.0.0.1:0"); err != nil {
		return broker, nil, err
	}
	gateway, err = serve("http", c.binary, "wsgateway", "--listen", "127.0.0.1:0", "--broker", broker.address, "--anonymous",
		"--stall-timeout", "10m")
	return broker, gateway, err
}

func cpuOf(servers ...*server) (sum time.Duration, err error) {
	for _, s := range servers {
		cpu, failed := s.cpu()
		sum, err = sum+cpu, errors.Join(err, failed)
	}
	return sum, err
}

// What is published before a run is measured: 2 MB, which no socket of a peer that reads nothing takes.
const (
	fill      = 100
	fillBytes = 20 << 10
)

// settle is how long to wait before a run is measured. The kernel asks each full socket's peer whether it has room again, 0.2,
// 0.6, 1.5, 3.2, 6.7 and 13.6 s after the socket was full (RFC 9293 section 3.8.6.1). All were full at about the same moment,
// and on loopback both ends of these bursts run on this machine; measured are 5 s between two of them.
const settle = 6 * time.Second

// load is what a run publishes.
type load struct {
	client  millracev1.BrokerServiceClient
	healthy *peers
	sent    int
}

// fill publishes more than any socket takes, so that whoever reads nothing is stalled, and as much where nobody is, so that
// all runs begin alike.
func (l *load) fill() error {
	for range fill {
		if err := l.publish(fillBytes); err != nil {
			return err
		}
		if err := l.received(); err != nil {
			return err
		}
	}
	time.Sleep(settle)
	return nil
}

// measure publishes at the comparison's rate, and times what comes of it.
func (l *load) measure(c comparison) error {
	l.healthy.timing.Store(true)
	next := time.Now()
	for range c.rate * c.seconds {
		if err := l.publish(c.payload); err != nil {
			return err
		}
		next = next.Add(time.Second / time.Duration(c.rate))
		time.Sleep(time.Until(next))
	}
	return l.received()
}

// received waits until all healthy peers have all.
func (l *load) received() error { return l.healthy.await(uint64(l.sent * len(l.healthy.files))) }

// publish publishes an event that says when it was sent.
func (l *load) publish(size int) error {
	l.sent++
	head := fmt.Sprintf(`{"sentNs":%d,"pad":"`, time.Since(born).Nanoseconds())
	data := fmt.Appendf(nil, `%s%0*d"}`, head, max(size-len(head)-2, 1), 0)
	response, err := l.client.Publish(context.Background(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: topic, Data: data}}})
	if err != nil {
		return err
	}
	if refusal := response.GetAcks()[0].GetError(); refusal != nil {
		return fmt.Errorf("publish refused: %s", refusal.GetMessage())
	}
	return nil
}
