package roster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
	"github.com/millrace-dev/millrace/gateway/internal/roster"
	"github.com/millrace-dev/millrace/gateway/internal/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "chat:1"

// house is the lists of one gateway, beside whose broker's end there is another.
type house struct {
	testing.TB
	broker   *gatewaytest.Broker
	other    *gatewaytest.Broker
	sources  *source.Sources
	lists    *roster.Lists
	failures atomic.Int64
	clock    atomic.Int64
	page     int           // most members of a page; 0: no limit
	pause    time.Duration // before each page
	lag      time.Duration // by which the log's events come later than what is read
}

const interval = 100 * time.Millisecond

// in runs body in a bubble, with lists that are no longer than most.
func in(t *testing.T, most int, body func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, stop := build(t, most, 64)
		defer stop()
		body(h)
	})
}

func build(t testing.TB, most, tail int) (h *house, stop func()) {
	h = &house{TB: t, broker: gatewaytest.NewBroker()}
	h.other = h.broker.Beside()
	h.sources = source.New(source.Config{TailEvents: tail, TailBytes: 1 << 20, MaxTopics: 10, Linger: 10 * time.Second, MaxIdle: 10}, late{h.broker, h})
	h.lists = roster.New(roster.Config{
		Most: most, Interval: interval, Parallel: 2, Now: h.clock.Load, Chance: func() float64 { return 0.5 },
		Failed: func(string, error) { h.failures.Add(1) },
	}, h.sources, pages{h.broker, h})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := h.sources.Feed(ctx); ctx.Err() == nil {
			t.Errorf("the feed ended: %v", err)
		}
	})
	running.Go(func() { h.lists.Run(ctx) })
	return h, func() {
		cancel()
		running.Wait()
		h.broker.Close()
		h.other.Close()
	}
}

// pages reads members as a broker does that has its own mind of how large a page is, and takes its time.
type pages struct {
	roster.Upstream
	house *house
}

func (p pages) Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	if p.house.page > 0 {
		r.Limit = min(r.Limit, p.house.page)
		<-time.After(p.house.pause)
	}
	return p.Upstream.Members(ctx, topic, r)
}

// late brings news later.
type late struct {
	source.Upstream
	house *house
}

func (l late) Next(ctx context.Context) ([]millrace.Update, error) {
	updates, err := l.Upstream.Next(ctx)
	if l.house.lag > 0 {
		<-time.After(l.house.lag)
	}
	return updates, err
}

func (h *house) settle() { synctest.Wait() }

func (h *house) elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// change asks for a change of a membership at an end of the broker.
func (h *house) change(end *gatewaytest.Broker, kind millrace.MemberChangeKind, session, subject, data string) {
	h.Helper()
	c := millrace.MemberChange{
		Kind: kind, Topic: topic, Generation: 1, Reason: millrace.LeftAsked,
		Member: millrace.Member{Session: session, Subject: subject, Data: []byte(data)},
	}
	if _, err := end.Enroll(context.Background(), []millrace.MemberChange{c}); err != nil {
		h.Fatal(err)
	}
}

// join makes sessions members, s0 to s9 of the subjects u0 to u4 and so on.
func (h *house) join(from, to int) {
	h.Helper()
	for i := from; i < to; i++ {
		h.change(h.broker, millrace.MemberJoin, session(i), subject(i), `{"n":0}`)
	}
}

// rush makes sessions members, all at once.
func (h *house) rush(from, to int) {
	h.Helper()
	changes := make([]millrace.MemberChange, 0, to-from)
	for i := from; i < to; i++ {
		member := millrace.Member{Session: session(i), Subject: subject(i)}
		changes = append(changes, millrace.MemberChange{Kind: millrace.MemberJoin, Topic: topic, Generation: 1, Member: member})
	}
	if _, err := h.other.Enroll(context.Background(), changes); err != nil {
		h.Fatal(err)
	}
}

func (h *house) leave(from, to int) {
	h.Helper()
	for i := from; i < to; i++ {
		h.change(h.broker, millrace.MemberLeave, session(i), "", "")
	}
}

func session(i int) string { return "s" + strconv.Itoa(i) }
func subject(i int) string { return "u" + strconv.Itoa(i/2) }

// restart is what a broker does that keeps all in memory: it comes back without, and is told anew of the members.
func (h *house) restart() {
	h.broker.Detach()
	h.settle()
	h.broker.Expire()
	h.broker.Reset(millrace.PresenceTopic(topic))
	h.broker.Attach()
}

// onlooker is told of the list, whenever it asks.
type onlooker struct {
	*house
	list    *roster.List
	turns   atomic.Int64
	number  uint64
	members map[string]millrace.Member
	last    roster.Changes
	told    []roster.Changes
}

// Schedule implements roster.Watcher.
func (o *onlooker) Schedule() { o.turns.Add(1) }

func (h *house) look() *onlooker {
	o := &onlooker{house: h}
	o.list = h.lists.Open(topic, o)
	o.list.Count(1)
	h.settle()
	return o
}

func (o *onlooker) end() {
	o.list.Count(-1)
	o.list.Close(o)
}

// next takes what there is to be told, and holds it against what was told before. It reports whether there was anything.
func (o *onlooker) next() bool {
	o.Helper()
	text, number := o.list.Since(o.number)
	o.number = number
	if text == nil {
		return false
	}
	var c roster.Changes
	if err := json.Unmarshal(text.Bytes(0, encode), &c); err != nil {
		o.Fatal(err)
	}
	if err := o.apply(c); err != nil {
		o.Errorf("edition %d, %+v: %v", number, c, err)
	}
	o.told, o.last = append(o.told, c), c
	return true
}

func encode(c *roster.Changes) []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return b
}

func (o *onlooker) apply(c roster.Changes) error {
	switch {
	case c.CountOnly:
		o.members = nil
		if len(c.Joined)+len(c.Updated)+len(c.Left) > 0 || c.Reset {
			return fmt.Errorf("more than the counts is told")
		}
		return nil
	case c.Reset:
		o.members = map[string]millrace.Member{}
	case o.members == nil:
		return fmt.Errorf("there is no list that this could be a change of")
	}
	for _, m := range c.Joined {
		if _, ok := o.members[m.Session]; ok {
			return fmt.Errorf("%s is there", m.Session)
		}
		o.members[m.Session] = m
	}
	for _, m := range c.Updated {
		if _, ok := o.members[m.Session]; !ok {
			return fmt.Errorf("%s is not there", m.Session)
		}
		o.members[m.Session] = m
	}
	for _, m := range c.Left {
		if _, ok := o.members[m.Session]; !ok || len(m.Data) > 0 {
			return fmt.Errorf("%s is not there (%v), or leaves with data", m.Session, !ok)
		}
		delete(o.members, m.Session)
	}
	subjects := map[string]bool{}
	for _, m := range o.members {
		if m.Subject != "" {
			subjects[m.Subject] = true
		}
	}
	if len(o.members) != c.Count || len(subjects) != c.Subjects {
		return fmt.Errorf("there are %d of %d subjects", len(o.members), len(subjects))
	}
	return nil
}

// wants takes all that there is to be told, and holds the list against the broker's.
func (o *onlooker) wants() {
	o.Helper()
	for o.next() {
	}
	want := o.broker.Roster(topic)
	if o.last.Count != len(want) {
		o.Errorf("%d members were told; there are %d", o.last.Count, len(want))
	}
	if o.last.CountOnly {
		return
	}
	if !maps.EqualFunc(o.members, want, same) {
		o.Errorf("told %v\nwant %v", o.members, want)
	}
}

func same(a, b millrace.Member) bool {
	return a.Session == b.Session && a.Subject == b.Subject && bytes.Equal(a.Data, b.Data) && a.Joined.Equal(b.Joined)
}

// edition takes one edition, which must be there.
func (o *onlooker) edition() roster.Changes {
	o.Helper()
	if !o.next() {
		o.Fatal("there is no further edition")
	}
	return o.last
}

// quiet fails the test if there is anything to be told.
func (o *onlooker) quiet() {
	o.Helper()
	if o.next() {
		o.Errorf("told %+v", o.last)
	}
}
