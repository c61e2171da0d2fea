package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// dialAdmin returns a raw gRPC client for operators.
func dialAdmin(t *testing.T, addr string) millracev1.AdminServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return millracev1.NewAdminServiceClient(conn)
}

// beat publishes some numbered events again and again until stop is called, which returns the events' positions. One at a
// time, the numbers are a clock that peers and gateways share.
func beat(t *testing.T, broker millracev1.BrokerServiceClient, topic string, each time.Duration, some int) (stop func() []millrace.Position) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var at []millrace.Position
	running.Go(func() {
		ticker := time.NewTicker(each)
		defer ticker.Stop()
		for ctx.Err() == nil {
			r := &millracev1.PublishRequest{}
			for i := range some {
				r.Events = append(r.Events, &millracev1.NewEvent{Topic: topic, Data: fmt.Appendf(nil, `{"n":%d}`, len(at)+i)})
			}
			m, err := broker.Publish(t.Context(), r)
			if err != nil {
				t.Errorf("publish: %v", err)
				return
			}
			for _, a := range m.GetAcks() {
				if a.GetError() != nil {
					t.Errorf("publish: %v", a.GetError())
				}
				at = append(at, millrace.Position{Offset: a.GetPosition().GetOffset(), Mark: a.GetPosition().GetMark()})
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	stop = sync.OnceValue(func() []millrace.Position {
		cancel()
		running.Wait()
		return at
	})
	t.Cleanup(func() { stop() })
	return stop
}

// advice is what a goaway or a refusal says.
type advice struct {
	Reason       string `json:"reason"`
	RetryAfterMs int    `json:"retryAfterMs"`
}

// sentAway takes the numbered events from one on, up to the goaway and the end behind it. It returns the number that comes
// next and the cursor to come back with, which was given if no event came.
func (p *peer) sentAway(topic string, from int, cursor string) (next int, _ string) {
	p.t.Helper()
	for {
		switch i := p.next(); i.kind {
		case "connected", "subscribed", "pending":
		case "event":
			if want := fmt.Sprintf(`{"n":%d}`, from); i.topic != topic || i.data != want {
				p.t.Fatalf("got %+v, want %s", i, want)
			}
			from++
			cursor = i.cursor
		case "goaway":
			var a advice
			if err := json.Unmarshal([]byte(i.data), &a); err != nil || a.Reason != "draining" || a.RetryAfterMs < 500 || a.RetryAfterMs >= 1000 {
				p.t.Fatalf("told %s", i.data)
			}
			if end := p.next(); end.kind != "closed" || end.close != 0 && end.close != 1012 {
				p.t.Fatalf("after the goaway came %+v", end)
			}
			return from, cursor
		default:
			p.t.Fatalf("got %+v", i)
		}
	}
}

// spread checks that those who were told to go by a shared clock, each at its tick, were not told in one or two bursts.
func spread(t *testing.T, ticks []int) {
	t.Helper()
	count := map[int]int{}
	most := 0
	for _, tick := range ticks {
		count[tick]++
		most = max(most, count[tick])
	}
	if len(count) < 8 || most > len(ticks)/2 {
		t.Errorf("%d peers were told at %d moments, %d of them at one", len(ticks), len(count), most)
	}
	t.Logf("%d peers were told at %d moments, at most %d at one", len(ticks), len(count), most)
}

// A gateway that stops sends its peers away one after the other over its window, serves each until its turn, and each
// goes on elsewhere with nothing lost (protocol 8.1 to 8.3).
// Promise: docs/delivery.md 7.2.
func TestAGatewayThatStopsSendsItsPeersAwayEvenlyAndEachGoesOnElsewhere(t *testing.T) {
	const topic = "drain:many"
	s := startSplit(t, "--drain-window", "2s")
	elsewhere := func(role string) string {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", s.broker.addr("grpc"), "--anonymous", "--seal-key", sealKey).addr("http")
	}
	otherWS, otherSSE := elsewhere("wsgateway"), elsewhere("ssegateway")
	type member struct {
		peer   *peer
		cursor string
		back   func(cursor string) *peer
	}
	groups := map[*process][]member{}
	for range 200 {
		groups[s.ws] = append(groups[s.ws], member{peer: dialWS(t, s.ws.addr("http"), "topic="+topic), back: func(cursor string) *peer {
			return dialWS(t, otherWS, "cursor="+cursor)
		}})
	}
	for range 50 {
		groups[s.sse] = append(groups[s.sse], member{peer: openSSE(t, s.sse.addr("http"), "topic="+topic, ""), back: func(cursor string) *peer {
			return openSSE(t, otherSSE, "topic="+topic, cursor)
		}})
	}
	for _, group := range groups {
		for i := range group {
			group[i].cursor = group[i].peer.until("subscribed").cursor
		}
	}
	stop := beat(t, dialBroker(t, s.broker.addr("grpc")), topic, 20*time.Millisecond, 1)
	var ends sync.WaitGroup
	for gateway := range groups {
		ends.Go(gateway.interrupt)
	}
	ends.Wait()
	at := stop()
	for gateway, group := range groups {
		var ticks []int
		for _, m := range group {
			next, cursor := m.peer.sentAway(topic, 0, m.cursor)
			ticks = append(ticks, next)
			m.back(cursor).wantEvents(topic, next, at[next:])
		}
		t.Logf("%s:", gateway.args[0])
		spread(t, ticks)
	}
}

// operate runs a command of millrace to its end.
func operate(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := exec.CommandContext(ctx, binary, args...).Output()
	return strings.TrimSpace(string(b)), err
}

// An operator drains a gateway by its id through the broker; the gateway stays up, not ready, until it is stopped.
// Promise: docs/delivery.md 7.2.
func TestAnOperatorDrainsAGateway(t *testing.T) {
	const topic = "drain:op"
	b := start(t, "broker", "--listen", "127.0.0.1:0")
	addr := b.addr("grpc")
	gateway := func(role, id string) *process {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", addr, "--anonymous", "--seal-key", sealKey, "--peer", id)
	}
	drains, stays := gateway("wsgateway", "ws-1"), gateway("ssegateway", "sse-1")
	var peers []*peer
	var cursors []string
	for range 20 {
		p := dialWS(t, drains.addr("http"), "topic="+topic)
		peers, cursors = append(peers, p), append(cursors, p.until("subscribed").cursor)
	}
	other := openSSE(t, stays.addr("http"), "topic="+topic, "")
	other.until("subscribed")
	status, err := operate(t, "status", "--broker", addr)
	if err != nil || !strings.Contains(status, `"peer": "ws-1"`) || !strings.Contains(status, `"peer": "sse-1"`) {
		t.Fatalf("the status is %s, %v", status, err)
	}
	if out, err := operate(t, "drain", "nobody", "--broker", addr); err == nil || out != "" {
		t.Errorf("nobody was drained: %q", out)
	}
	stop := beat(t, dialBroker(t, addr), topic, 20*time.Millisecond, 1)
	if out, err := operate(t, "drain", "ws-1", "--broker", addr, "--window", "1m"); err != nil || out != "20" {
		t.Fatalf("drained %q, %v", out, err)
	}
	var next []int
	for i, p := range peers {
		n, cursor := p.sentAway(topic, 0, cursors[i])
		next, cursors[i] = append(next, n), cursor
	}
	at := stop()
	for i, cursor := range cursors {
		openSSE(t, stays.addr("http"), "", cursor).wantEvents(topic, next[i], at[next[i]:])
	}
	other.wantEvents(topic, 0, at)

	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		resp, err := http.Get("http://" + drains.addr("http") + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s of the drained gateway answers %s", path, resp.Status)
		}
	}
	late := dialWS(t, drains.addr("http"), "topic="+topic)
	late.until("goaway")
	if end := late.next(); end.close != 1012 || !strings.HasPrefix(end.reason, "draining; retryAfterMs=") {
		t.Errorf("who comes late is closed with %+v", end)
	}
	if out, err := operate(t, "drain", "ws-1", "--broker", addr); err != nil || out != "0" {
		t.Errorf("drained again: %q, %v", out, err)
	}
	drains.interrupt()
}

// A connection that is old enough is told to come back, and goes on with nothing lost (protocol 8.4).
// Promise: docs/delivery.md 7.3.
func TestAConnectionEndsByAgeAndGoesOn(t *testing.T) {
	const topic = "age:1"
	s := startSplit(t, "--max-session-age", "2s")
	ws, sse := dialWS(t, s.ws.addr("http"), "topic="+topic), openSSE(t, s.sse.addr("http"), "topic="+topic, "")
	cursors := []string{ws.until("subscribed").cursor, sse.until("subscribed").cursor}
	stop := beat(t, dialBroker(t, s.broker.addr("grpc")), topic, 50*time.Millisecond, 1)
	n, again := make([]int, 2), []*peer{ws, sse}
	for range 2 {
		for i := range again {
			n[i], cursors[i] = again[i].sentAway(topic, n[i], cursors[i])
		}
		again = []*peer{dialWS(t, s.ws.addr("http"), "cursor="+cursors[0]), openSSE(t, s.sse.addr("http"), "topic="+topic, cursors[1])}
	}
	at := stop()
	for i, p := range again {
		p.wantEvents(topic, n[i], at[n[i]:])
	}
}

// Streams between gateways and brokers end by age and move, while events are published at full speed, and no browser
// notices.
// Promise: docs/delivery.md 7.4.
func TestStreamsToTheBrokerMoveAndNoBrowserNotices(t *testing.T) {
	const topic, moves = "move:1", 5
	s := splitWith(t, []string{"--stream-age", "200ms", "--topic-max-events", "10000000", "--topic-max-bytes", "4GiB"}, nil)
	peers := []*peer{dialWS(t, s.ws.addr("http"), "topic="+topic), openSSE(t, s.sse.addr("http"), "topic="+topic, "")}
	for _, p := range peers {
		p.until("subscribed")
	}
	stop := beat(t, dialBroker(t, s.broker.addr("grpc")), topic, time.Microsecond, 100)
	admin := dialAdmin(t, s.broker.addr("grpc"))
	opened := map[string]map[int64]bool{}
	for done := 0; done < 2; {
		m, err := admin.GetStatus(t.Context(), &millracev1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		done = 0
		for _, l := range m.GetLinks() {
			if opened[l.GetPeer()] == nil {
				opened[l.GetPeer()] = map[int64]bool{}
			}
			opened[l.GetPeer()][l.GetOpenedMs()] = true
		}
		for _, streams := range opened {
			if len(streams) > moves {
				done++
			}
		}
	}
	at := stop()
	for _, p := range peers {
		p.wantEvents(topic, 0, at)
	}
	t.Logf("%d events over more than %d streams of each gateway", len(at), moves)
}

// Whoever can't wait for a drain says so by a second signal, which counts as soon as anybody can see that the first did.
func TestASecondSignalEndsADrainAtOnce(t *testing.T) {
	s := startSplit(t, "--drain-window", "1m")
	var peers []*peer
	for range 300 { // takes seconds at the least rate
		p := dialWS(t, s.ws.addr("http"), "topic=a")
		p.until("subscribed")
		peers = append(peers, p)
	}
	if err := s.ws.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	peers[0].until("goaway") // the oldest goes first
	s.ws.interrupt()
	if status, ok := s.ws.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("the gateway ended by itself: %v", s.ws.cmd.ProcessState)
	}
	if end := peers[len(peers)-1].next(); end.kind != "closed" {
		t.Errorf("the last one was still told: %+v", end)
	}
}
