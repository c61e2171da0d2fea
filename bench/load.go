package main

import (
	"context"
	"fmt"
	"time"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

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
