package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// pulse publishes to a topic at a steady rate, whatever becomes of it, and times the acks and what comes of the events to one
// WebSocket: what others feel while something is done.
type pulse struct {
	// Static.
	client millracev1.BrokerServiceClient
	peer   *peers
	rate   int // events a second
	stop   chan struct{}
	done   sync.WaitGroup

	sent atomic.Int64 // events that were stored, or failed

	mu      sync.Mutex
	acks    []arrival // protected by mu
	failure error     // protected by mu
}

const pulseTopic = "other:1"

// pulseBytes is the size of an event's data.
const pulseBytes = 128

// startPulse begins to publish, until end.
func startPulse(client millracev1.BrokerServiceClient, gateway string, rate int) (*pulse, error) {
	peer, err := connect(gateway, "/v1/ws?topic="+pulseTopic, 1)
	if err != nil {
		return nil, err
	}
	if err := peer.awaitSubscribed(1); err != nil {
		peer.close()
		return nil, err
	}
	peer.timing.Store(true)
	p := &pulse{client: client, peer: peer, rate: rate, stop: make(chan struct{})}
	p.done.Go(p.run)
	return p, nil
}

// end stops publishing, waits for what is on its way, and returns the times of the acks and of the WebSocket.
func (p *pulse) end() (acks, receipts []arrival, err error) {
	close(p.stop)
	p.done.Wait()
	defer p.peer.close()
	if p.failure != nil {
		return nil, nil, p.failure
	}
	if err := p.peer.await(uint64(p.sent.Load())); err != nil {
		return nil, nil, fmt.Errorf("of %q: %w", pulseTopic, err)
	}
	p.peer.close()
	if n := p.peer.faults.Load(); n > 0 {
		return nil, nil, fmt.Errorf("%d events of %q were lost, repeated or out of order", n, pulseTopic)
	}
	return p.acks, p.peer.arrivals, nil
}

// run sends each event when it is time, though those before it may have no ack yet: or a stall would be felt by one alone.
func (p *pulse) run() {
	pace := time.NewTicker(time.Second / time.Duration(p.rate))
	defer pace.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-pace.C:
			p.done.Go(p.beat)
		}
	}
}

func (p *pulse) beat() {
	sent := time.Since(born)
	head := fmt.Sprintf(`{"sentNs":%d,"pad":"`, sent.Nanoseconds())
	data := fmt.Appendf(nil, `%s%0*d"}`, head, max(pulseBytes-len(head)-2, 1), 0)
	response, err := p.client.Publish(context.Background(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: pulseTopic, Data: data}}})
	if err == nil && response.GetAcks()[0].GetError() != nil {
		err = fmt.Errorf("publish refused: %s", response.GetAcks()[0].GetError().GetMessage())
	}
	latency := time.Since(born) - sent
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent.Add(1)
	p.acks = append(p.acks, arrival{sent: sent, latency: latency})
	if err != nil {
		p.failure = err
	}
}
