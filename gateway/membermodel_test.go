package gateway_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

// TestWhoIsAMemberIsWhoShouldBe lets peers join, leave, show other things, break off, end and come back, here or at another
// gateway, in time or too late, while gateways die and are cut off from the broker. In the end the members are those of the
// sessions that live, and the lifecycle logs have led there.
func TestWhoIsAMemberIsWhoShouldBe(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in(t, shared(), func(h *house) {
				m := &memberModel{house: h, r: rand.New(rand.NewPCG(uint64(seed), 7)), rooms: []string{"room:1", "room:2", "room:3"}}
				m.houses = []*house{h, h.beside(shared()), h.beside(shared())}
				m.run()
			})
		})
	}
}

type memberModel struct {
	*house
	r      *rand.Rand
	houses []*house // those that are up
	rooms  []string
	actors []*actor
	dead   []*gatewaytest.Broker
	former []*gatewaytest.Peer // whose connection is dead, and the gateway does not know it yet
	re     uint32
}

// actor is a peer and what it has a right to believe.
type actor struct {
	at     *house
	peer   *gatewaytest.Peer
	shows  map[string]string // what it was told that it shows, by topic
	away   time.Time         // since when, if it is
	cursor string
	ended  bool
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func (m *memberModel) run() {
	for range 6 {
		m.open(&actor{})
	}
	for range 120 {
		m.step()
		if m.r.IntN(3) == 0 {
			m.elapse(time.Duration(m.r.IntN(2500)) * time.Millisecond)
		} else {
			m.settle()
		}
	}
	for _, at := range m.houses {
		at.broker.Attach()
	}
	for _, p := range m.former {
		m.cut(p)
	}
	m.elapse(time.Minute) // all that is still to be told is, and everyone's grace is over
	for _, b := range m.dead {
		b.Expire()
	}
	m.settle()
	m.check()
}

func (m *memberModel) step() {
	a := pick(m.r, m.actors)
	if !a.away.IsZero() || a.ended {
		if a.ended || m.r.IntN(2) == 0 {
			m.open(a)
		}
		return
	}
	if _, over := a.peer.End(); over { // a gateway that was cut off learned of it late
		m.open(a)
		return
	}
	room := pick(m.r, m.rooms)
	switch m.r.IntN(14) {
	case 0, 1, 2, 3:
		data := fmt.Sprint(m.r.IntN(100))
		if _, ok := m.do(a, entering(room, data)).(*gateway.Joined); ok {
			a.shows[room] = data
		}
	case 4, 5:
		data := fmt.Sprint(m.r.IntN(100))
		if _, ok := m.do(a, gateway.Update{Topic: room, Data: []byte(data)}).(*gateway.Done); ok {
			a.shows[room] = data
		}
	case 6:
		if _, ok := m.do(a, gateway.Leave{Topic: room}).(*gateway.Left); ok {
			delete(a.shows, room)
		}
	case 7:
		m.do(a, gateway.Unsubscribe{Topic: room})
		delete(a.shows, room)
	case 8, 9:
		a.cursor, a.away = a.peer.Cursor(), time.Now()
		m.cut(a.peer)
	case 10:
		a.cursor, a.ended = a.peer.Cursor(), true
		a.peer.Session.Closed()
	case 11: // the peer comes back before the gateway knows that it is gone
		a.cursor = a.peer.Cursor()
		m.former = append(m.former, a.peer)
		m.open(a)
	case 12:
		m.kill()
	case 13:
		at := pick(m.r, m.houses)
		at.broker.Detach()
		m.elapse(time.Duration(m.r.IntN(3000)) * time.Millisecond)
		at.broker.Attach()
	}
}

// do runs a command of an actor and returns its answer, nil if the session ended in place of one.
func (m *memberModel) do(a *actor, c gateway.Command) any {
	m.re++
	a.peer.Session.Do(m.Context(), m.re, c)
	m.settle()
	for _, l := range a.peer.Lines() {
		if l.Re == m.re && l.Frame != nil {
			return l.Frame
		}
	}
	return nil
}

// open brings an actor back with its cursor, or for the first time.
func (m *memberModel) open(a *actor) {
	if a.peer == nil {
		a.shows = map[string]string{}
		m.actors = append(m.actors, a)
	}
	if err, over := a.ending(); over && err != nil && err.Reason == millrace.ReasonConflict {
		a.cursor = ""
	}
	a.at = pick(m.r, m.houses)
	a.peer = a.at.connect(a.at.seat(pick(m.r, []*gateway.Wire{m.wire, m.lead})), gateway.Opening{Grant: everything("alice"), Cursor: a.cursor})
	a.away, a.ended = time.Time{}, false
	m.settle()
	a.peer.Session.Heard()
	for _, f := range gatewaytest.Frames[gateway.Joined](a.peer) {
		a.shows[f.Topic] = string(f.Member.Data)
	}
}

func (a *actor) ending() (*millrace.Error, bool) {
	if a.peer == nil {
		return nil, false
	}
	return a.peer.End()
}

// kill ends a gateway without a word to the broker, and has another take its place.
func (m *memberModel) kill() {
	if len(m.dead) == 3 {
		return
	}
	i := 1 + m.r.IntN(len(m.houses)-1)
	doomed := m.houses[i]
	for _, a := range m.actors {
		if a.at == doomed && a.away.IsZero() && !a.ended {
			a.cursor, a.away = a.peer.Cursor(), time.Now()
		}
	}
	doomed.gateway.Close()
	doomed.broker.Close()
	m.dead = append(m.dead, doomed.broker)
	m.houses[i] = m.beside(shared())
}

// check holds the members against the sessions that live, and the logs against the members.
func (m *memberModel) check() {
	want := map[string]map[string]string{}
	for _, room := range m.rooms {
		want[room] = map[string]string{}
	}
	alive := map[string]bool{}
	for _, a := range m.actors {
		if _, over := a.peer.End(); over || !a.away.IsZero() || a.ended {
			continue
		}
		alive[a.peer.Session.ID()] = true
		c, err := millrace.ParseCursor(a.peer.Cursor())
		if err != nil {
			m.Fatal(err)
		}
		for _, part := range c.Parts {
			data, known := a.shows[part.Topic]
			if !known {
				m.Errorf("%s was not told to be a member of %s, but its cursor says so", a.peer.Session.ID(), part.Topic)
			}
			want[part.Topic][a.peer.Session.ID()] = data
		}
	}
	for _, room := range m.rooms {
		got := map[string]string{}
		for session, member := range m.broker.Roster(room) {
			got[session] = string(member.Data)
		}
		if !maps.Equal(got, want[room]) {
			m.Errorf("the members of %s are %v, want %v", room, got, want[room])
		}
		m.fold(room, slices.Sorted(maps.Keys(got)))
	}
	sessions := m.broker.Roster(millrace.SessionsTopic)
	if got := slices.Sorted(maps.Keys(sessions)); !slices.Equal(got, slices.Sorted(maps.Keys(alive))) {
		m.Errorf("the sessions are %v, want %v", got, slices.Sorted(maps.Keys(alive)))
	}
	m.fold(millrace.SessionsTopic, slices.Sorted(maps.Keys(sessions)))
}

// fold applies a lifecycle log: nobody joins twice or leaves twice, and in the end there are those who are there.
func (m *memberModel) fold(topic string, want []string) {
	there := map[string]bool{}
	for i, e := range m.broker.Lifecycle(topic) {
		switch id := e.Member.Session; {
		case e.Kind == millrace.MemberJoined && there[id], e.Kind == millrace.MemberLeft && !there[id]:
			m.Errorf("event %d of %s: %s %s, though it is there: %v", i, topic, id, e.Kind, there[id])
		case e.Kind == millrace.MemberJoined:
			there[id] = true
		case e.Kind == millrace.MemberLeft:
			delete(there, id)
		}
	}
	if got := slices.Sorted(maps.Keys(there)); !slices.Equal(got, want) {
		m.Errorf("the log of %s leads to %s, want %s", topic, strings.Join(got, " "), strings.Join(want, " "))
	}
}
