package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

const topic = "bench:1"

// measureMillrace runs millrace dev with real WebSocket subscribers and publishes to them over gRPC.
func (p plan) measureMillrace() (m measurement, err error) {
	server, err := start(p.binary, "dev", "--grpc-listen", "127.0.0.1:0", "--listen", "127.0.0.1:0")
	if err != nil {
		return m, err
	}
	defer func() {
		if e := server.stop(); err == nil {
			err = e
		}
	}()
	addresses, err := server.await("ready")
	if err != nil {
		return m, err
	}
	before, err := server.rss()
	if err != nil {
		return m, err
	}
	subscribers, err := connect(addresses["http"], "/v1/ws?topic="+topic, p.subscribers)
	if err != nil {
		return m, err
	}
	defer subscribers.close()
	time.Sleep(2 * time.Second)
	after, err := server.rss()
	if err != nil {
		return m, err
	}
	m.idleRSS = (after - before) / int64(p.subscribers)
	conn, err := grpc.NewClient(addresses["grpc"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return m, err
	}
	defer conn.Close()
	events, err := m.between(server, subscribers, func() (int, error) {
		return p.publish(millracev1.NewBrokerServiceClient(conn), subscribers)
	})
	if err != nil {
		return m, err
	}
	if want := uint64(events * p.subscribers); m.deliveries != want {
		m.faults += want - m.deliveries
	}
	return m, nil
}

// between takes the figures from before load to the last delivery behind it.
func (m *measurement) between(server *process, subscribers *peers, load func() (int, error)) (int, error) {
	cpu, err := server.cpu()
	if err != nil {
		return 0, err
	}
	own, began := ownCPU(), time.Now()
	n, err := load()
	if err != nil {
		return 0, err
	}
	want := uint64(n * len(subscribers.files))
	for deadline := time.Now().Add(5 * time.Second); subscribers.deliveries.Load() < want && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	m.wall = time.Since(began)
	end, err := server.cpu()
	if err != nil {
		return 0, err
	}
	m.cpu, m.generator = end-cpu, ownCPU()-own
	m.deliveries, m.bytes, m.faults = subscribers.deliveries.Load(), subscribers.bytes.Load(), subscribers.faults.Load()
	return n, nil
}

// inFlight bounds how many events an unpaced run is ahead of its subscribers, so that the log still has them all.
const inFlight = 500

// publish sends events for the length of a run and returns how many.
func (p plan) publish(broker millracev1.BrokerServiceClient, subscribers *peers) (int, error) {
	data := make([]byte, 0, p.payload)
	data = fmt.Appendf(data, `{"pad":"%0*d"}`, max(p.payload-10, 1), 0)
	end := time.Now().Add(time.Duration(p.seconds) * time.Second)
	next := time.Now()
	sent := 0
	for time.Now().Before(end) {
		request := &millracev1.PublishRequest{}
		for range p.batch {
			request.Events = append(request.Events, &millracev1.NewEvent{Topic: topic, Data: data})
		}
		response, err := broker.Publish(context.Background(), request)
		if err != nil {
			return sent, err
		}
		for _, ack := range response.GetAcks() {
			if ack.GetError() != nil {
				return sent, fmt.Errorf("publish refused: %s", ack.GetError().GetMessage())
			}
		}
		sent += p.batch
		if p.rate > 0 {
			next = next.Add(time.Second / time.Duration(p.rate))
			time.Sleep(time.Until(next))
			continue
		}
		for (sent-inFlight)*p.subscribers > int(subscribers.deliveries.Load()) {
			time.Sleep(100 * time.Microsecond)
		}
	}
	return sent, nil
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
