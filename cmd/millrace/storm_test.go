package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// arrival is how one peer of a storm came in.
type arrival struct {
	resumes bool
	after   time.Duration // since the storm began
	refused []int         // what it was told each time that it was refused, in milliseconds
	err     error
}

// arrive opens a WebSocket until it is let in, and comes back when it is told.
func arrive(t *testing.T, addr, query string, began time.Time) (a arrival) {
	for {
		conn, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/v1/ws?"+query, nil)
		if err != nil {
			a.err = err
			return a
		}
		resp.Body.Close()
		t.Cleanup(func() { conn.Close() })
		_, b, err := conn.ReadMessage()
		if err != nil {
			a.err = err
			return a
		}
		var f struct {
			Connected json.RawMessage `json:"connected"`
			Error     advice          `json:"error"`
		}
		if err := json.Unmarshal(b, &f); err != nil {
			a.err = err
			return a
		}
		if f.Connected != nil {
			a.after = time.Since(began)
			return a
		}
		_, _, err = conn.ReadMessage()
		end, ok := errors.AsType[*websocket.CloseError](err)
		if want := fmt.Sprintf("full; retryAfterMs=%d", f.Error.RetryAfterMs); !ok || end.Code != websocket.CloseTryAgainLater || end.Text != want {
			a.err = fmt.Errorf("refused with %s, then %w", b, err)
			return a
		}
		conn.Close()
		a.refused = append(a.refused, f.Error.RetryAfterMs)
		<-time.After(time.Duration(f.Error.RetryAfterMs) * time.Millisecond)
	}
}

// A storm of peers that come at once is let in at a rate, those that resume first; who would wait too long is told when to
// come back, and nobody stays out (protocol 8.5).
// Promise: docs/delivery.md 7.5.
func TestAStormIsLetInAtARateAndThoseThatResumeFirst(t *testing.T) {
	const storm, rate, topic = 2000, 250, "storm:1"
	s := startSplit(t, "--admit-rate", fmt.Sprint(rate), "--admit-wait", "1s")
	cursor := dialWS(t, s.ws.addr("http"), "topic="+topic).until("subscribed").cursor
	arrivals := make([]arrival, storm)
	began := time.Now()
	var all sync.WaitGroup
	for i := range arrivals {
		all.Go(func() {
			query := "topic=" + topic
			if i%2 == 1 {
				query = "cursor=" + cursor
			}
			arrivals[i] = arrive(t, s.ws.addr("http"), query, began)
			arrivals[i].resumes = i%2 == 1
		})
	}
	all.Wait()
	var fresh, resumed []time.Duration
	refused, tries := 0, 0
	least, most := time.Hour.Milliseconds(), int64(0)
	for _, a := range arrivals {
		if a.err != nil {
			t.Fatal(a.err)
		}
		if a.resumes {
			resumed = append(resumed, a.after)
		} else {
			fresh = append(fresh, a.after)
		}
		if len(a.refused) > 0 {
			refused++
		}
		tries = max(tries, len(a.refused))
		for _, ms := range a.refused {
			least, most = min(least, int64(ms)), max(most, int64(ms))
		}
	}
	slices.Sort(fresh)
	slices.Sort(resumed)
	last := max(fresh[len(fresh)-1], resumed[len(resumed)-1])
	if least := time.Duration(storm-rate) * time.Second / rate / 2; last < least {
		t.Errorf("all %d were in after %v, though %d a second are let in", storm, last, rate)
	}
	if refused == 0 || least < 500 {
		t.Errorf("%d were refused, for %d ms and more", refused, least)
	}
	if m, n := resumed[storm/4], fresh[storm/4]; m >= n {
		t.Errorf("half of those that resume were in after %v, and half of the others after %v", m, n)
	}
	t.Logf("all in after %v; half of those that resume after %v, of the others after %v; %d refused, %d times at most, for %d to %d ms",
		last, resumed[storm/4], fresh[storm/4], refused, tries, least, most)
}
