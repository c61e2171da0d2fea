package broker_test

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
)

// seat is what a model knows of one member.
type seat struct {
	holder     string
	under      *broker.Holder // who told of it last
	generation uint32
	member     millrace.Member // but for when it joined
}

// lessor is a name under which members are held, one holder after the other.
type lessor struct {
	holder *broker.Holder
	closed time.Time // zero while it is open
	over   bool      // it was ended, or ran out
}

// town is a house and a model of who its members are, which has no log and no leases.
type town struct {
	*house
	chance  *rand.Rand
	names   []string
	topics  []string
	lessors map[string]*lessor
	former  []*broker.Holder // whose lease is gone
	seats   map[string]map[string]*seat
	folds   map[string]*brokertest.Fold
	left    map[string]int // how often somebody left for a reason
}

func TestWhateverHoldersDoTheListIsWhatTheLogAddsUpTo(t *testing.T) {
	left := map[string]int{}
	for seed := range uint64(60) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inHouse(t, broker.Config{ListedMembers: 3}, func(h *house) {
				w := newTown(h, rand.New(rand.NewPCG(seed, 9)))
				w.live(300)
				for reason, times := range w.left {
					left[reason] += times
				}
			})
		})
	}
	for _, reason := range []string{millrace.LeftAsked, millrace.LeftLost, millrace.LeftLease, "draining"} {
		if left[reason] < 100 {
			t.Errorf("%d left for reason %q: the test shows little of it", left[reason], reason)
		}
	}
}

func newTown(h *house, chance *rand.Rand) *town {
	w := &town{
		house: h, chance: chance, names: []string{"g1", "g2", "g3"}, topics: []string{"a", "b", millrace.SessionsTopic},
		lessors: map[string]*lessor{}, seats: map[string]map[string]*seat{}, folds: map[string]*brokertest.Fold{}, left: map[string]int{},
	}
	for _, topic := range w.topics {
		w.seats[topic], w.folds[topic] = map[string]*seat{}, brokertest.NewFold(topic)
	}
	for _, name := range w.names {
		w.lessors[name] = &lessor{holder: h.hold(name)}
	}
	return w
}

func (w *town) live(steps int) {
	for step := range steps {
		name := w.names[w.chance.IntN(len(w.names))]
		switch n := w.chance.IntN(100); {
		case n < 78:
			w.change(name)
		case n < 81:
			w.begin(name)
		case n < 84:
			w.settle(name)
		case n < 85:
			w.end(name)
		case n < 88:
			w.close(name)
		case n < 90:
			w.late()
		default:
			w.elapse(time.Duration(w.chance.IntN(1500)) * time.Millisecond)
		}
		w.pass()
		w.compare(step)
	}
}

// change asks for something at random and does it to the model.
func (w *town) change(name string) {
	l := w.lessors[name]
	if l.over && w.chance.IntN(3) == 0 {
		w.begin(name)
	}
	topic, session := w.topics[w.chance.IntN(len(w.topics))], fmt.Sprint("s", w.chance.IntN(9))
	was := w.seats[topic][session]
	c := millrace.MemberChange{
		Kind:   millrace.MemberChangeKind(1 + w.chance.IntN(4)),
		Topic:  topic,
		Member: millrace.Member{Session: session, Subject: []string{"alice", "bob", ""}[session[1]%3]},
		Reason: millrace.LeftAsked,
	}
	if was != nil {
		c.Generation = max(was.generation+uint32(w.chance.IntN(3)), 1) - 1
	}
	if w.chance.IntN(2) == 0 {
		c.Member.Data = fmt.Append(nil, w.chance.IntN(3))
	}
	full := w.chance.IntN(12) == 0
	if full {
		w.log.Refuse(millrace.Errorf(millrace.ReasonFull, "full"))
		defer w.log.Refuse(nil)
	}
	got := w.enroll(l.holder, c)
	if l.over {
		if got != millrace.ReasonNotFound && got != millrace.ReasonConflict {
			w.t.Fatalf("under a lease that is over, %+v is answered %q", c, got)
		}
		return
	}
	next, want := w.decide(name, c)
	if full && want == "" && told(was, next) {
		want, next = millrace.ReasonFull, was
	}
	if got != want {
		w.t.Fatalf("%+v of %s is answered %q, want %q; before it was %+v", c, name, got, want, was)
	}
	if next == nil {
		delete(w.seats[topic], session)
	} else {
		w.seats[topic][session] = next
	}
}

// told reports whether a change of a member has an event.
func told(was, next *seat) bool {
	if was == nil || next == nil {
		return was != next
	}
	return was.member.Subject != next.member.Subject || !bytes.Equal(was.member.Data, next.member.Data)
}

// decide returns what becomes of a member, by the words of broker.Roster.
func (w *town) decide(name string, c millrace.MemberChange) (*seat, millrace.Reason) {
	was := w.seats[c.Topic][c.Member.Session]
	holder := w.lessors[name].holder
	switch {
	case c.Kind == millrace.MemberLeave && (was == nil || was.holder != name):
		return was, ""
	case was == nil && c.Kind == millrace.MemberJoin:
		return &seat{name, holder, c.Generation, c.Member}, ""
	case was == nil:
		return nil, millrace.ReasonNotFound
	case c.Generation < was.generation:
		return was, millrace.ReasonConflict
	case c.Kind == millrace.MemberLeave:
		return nil, ""
	}
	next := &seat{name, holder, c.Generation, was.member}
	if c.Kind != millrace.MemberResume {
		next.member.Data = c.Member.Data
	}
	return next, ""
}

// begin lets a holder begin anew.
func (w *town) begin(name string) {
	l := w.lessors[name]
	w.former = append(w.former, l.holder)
	l.holder, l.closed, l.over = w.hold(name), time.Time{}, false
}

// depart takes those from the model whom somebody says.
func (w *town) depart(who func(s *seat) bool) {
	for _, seats := range w.seats {
		maps.DeleteFunc(seats, func(_ string, s *seat) bool { return who(s) })
	}
}

func (w *town) settle(name string) {
	l := w.lessors[name]
	if err := l.holder.Settle(w.t.Context()); (err == nil) == l.over {
		w.t.Fatalf("%s settles, its lease being over: %v; %v", name, l.over, err)
	}
	if !l.over {
		w.depart(func(s *seat) bool { return s.holder == name && s.under != l.holder })
	}
}

func (w *town) end(name string) {
	l := w.lessors[name]
	if err := l.holder.End(w.t.Context(), "draining"); (err == nil) == l.over {
		w.t.Fatalf("%s ends, its lease being over: %v; %v", name, l.over, err)
	}
	l.over = true
	w.depart(func(s *seat) bool { return s.holder == name })
}

// close loses a lease, which then runs out in a term at most.
func (w *town) close(name string) {
	if l := w.lessors[name]; l.closed.IsZero() && !l.over {
		l.holder.Close()
		l.closed = time.Now()
	}
}

// late lets a former holder ask, which counts for nothing.
func (w *town) late() {
	if len(w.former) == 0 {
		return
	}
	late := w.former[w.chance.IntN(len(w.former))]
	if got := w.enroll(late, joining("a", "s1")); got != millrace.ReasonConflict && got != millrace.ReasonNotFound {
		w.t.Fatalf("a former holder's join is answered %q", got)
	}
	if late.End(w.t.Context(), "late") == nil || late.Settle(w.t.Context()) == nil {
		w.t.Fatal("a former holder ends, or settles, what is not its own any more")
	}
}

// pass lets leases run out that are about to: there is no telling when exactly.
func (w *town) pass() {
	due := func(l *lessor) bool { return !l.closed.IsZero() && !l.over && time.Since(l.closed) > term/2 }
	if !slices.ContainsFunc(slices.Collect(maps.Values(w.lessors)), due) {
		return
	}
	w.elapse(2 * term)
	for name, l := range w.lessors {
		if !l.closed.IsZero() && !l.over {
			l.over = true
			w.depart(func(s *seat) bool { return s.holder == name })
		}
	}
}

// compare holds lists, what the logs add up to, and the model to each other.
func (w *town) compare(step int) {
	for _, topic := range w.topics {
		fold := w.folds[topic]
		page, err := w.History(w.t.Context(), millrace.PresenceTopic(topic), millrace.Range{Start: millrace.After(fold.At), Limit: 1000})
		if err != nil || page.Gap != nil || page.More {
			w.t.Fatalf("step %d: the log of %s: %v, %v", step, topic, err, page.Gap)
		}
		for _, e := range page.Events {
			if err := fold.Apply(e); err != nil {
				w.t.Fatalf("step %d: the log of %s: %v", step, topic, err)
			}
			if m, err := millrace.ParseMemberEvent(e); err == nil && m.Kind == millrace.MemberLeft {
				w.left[m.Reason]++
			}
		}
		if err := fold.Differs(w.list(topic)); err != nil {
			w.t.Fatalf("step %d: the list of %s: %v", step, topic, err)
		}
		var want, got []string
		for session, s := range w.seats[topic] {
			want = append(want, fmt.Sprintf("%s %s %s", session, s.member.Subject, s.member.Data))
		}
		for session, m := range fold.Members {
			got = append(got, fmt.Sprintf("%s %s %s", session, m.Subject, m.Data))
		}
		slices.SortFunc(want, cmp.Compare)
		slices.SortFunc(got, cmp.Compare)
		if !slices.Equal(got, want) {
			w.t.Fatalf("step %d: the members of %s are %q, want %q", step, topic, got, want)
		}
	}
}
