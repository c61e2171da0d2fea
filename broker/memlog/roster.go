package memlog

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
)

// RosterConfig is what a roster can be told. Zero fields take their defaults.
type RosterConfig struct {
	// Now returns the time that leases run out by and members are said to have joined at. It is called under the roster's
	// lock. Default: time.Now, by whose steady clock leases last, whatever the one on the wall does.
	Now func() time.Time

	// Mark returns a random number, by which a roster knows its pages from those of another. Default: the process's own
	// ChaCha8 generator, which is seeded by the system.
	Mark func() uint64
}

// turnMembers is how many members are changed under the roster's lock before others have their turn.
const turnMembers = 128

// listedMembers is how many members are on a page, unless asked for.
const listedMembers = 100

// Roster is a broker.Roster in memory, over any log whose Append and Read do not wait: they are called under the roster's
// one lock, which makes a change and its events one step.
type Roster struct {
	// Static.
	now  func() time.Time
	mark uint64 // on the roster's pages
	log  broker.Log

	mu       sync.Mutex
	rooms    map[string]*room     // protected by mu; those that have members
	members  map[seat]*membership // protected by mu; by session
	subjects map[seat]int         // protected by mu; how many members of a room have a subject
	holders  map[string]*holder   // protected by mu; those that have a lease, or had one and still have members
	joins    uint64               // protected by mu; members there ever were, which numbers them
	leases   uint64               // protected by mu; likewise
	closed   bool                 // protected by mu
}

var _ broker.Roster = (*Roster)(nil)

// NewRoster returns a roster without members, whose lifecycle events go to a log.
func NewRoster(log broker.Log) *Roster { return NewRosterWith(RosterConfig{}, log) }

// NewRosterWith is NewRoster for a roster that is told where time and chance come from.
func NewRosterWith(cfg RosterConfig, log broker.Log) *Roster {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Mark == nil {
		cfg.Mark = rand.Uint64
	}
	return &Roster{
		now:      cfg.Now,
		mark:     cfg.Mark(),
		log:      log,
		rooms:    map[string]*room{},
		members:  map[seat]*membership{},
		subjects: map[seat]int{},
		holders:  map[string]*holder{},
	}
}

// Change implements broker.Roster.
func (r *Roster) Change(ctx context.Context, l broker.Lease, changes []millrace.MemberChange) []millrace.MemberAck {
	acks := make([]millrace.MemberAck, len(changes))
	for i := 0; i < len(changes); i += turnMembers {
		j := min(i+turnMembers, len(changes))
		r.changeSome(ctx, l, changes[i:j], acks[i:j])
	}
	return acks
}

func (r *Roster) changeSome(ctx context.Context, l broker.Lease, changes []millrace.MemberChange, acks []millrace.MemberAck) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, err := r.holding(l)
	for i := range changes {
		if err != nil {
			acks[i].Err = err
			continue
		}
		c := &changes[i]
		acks[i].Member, acks[i].Err = r.change(ctx, h, c)
		if room := r.rooms[c.Topic]; room != nil && acks[i].Err == nil {
			acks[i].Count, acks[i].Subjects = room.count, room.subjects
		}
	}
}

// change does what the holder asks and returns the member as it is then, or was.
func (r *Roster) change(ctx context.Context, h *holder, c *millrace.MemberChange) (millrace.Member, *millrace.Error) {
	m := r.members[seat{r.rooms[c.Topic], c.Member.Session}]
	switch {
	case c.Kind < millrace.MemberJoin || c.Kind > millrace.MemberLeave:
		return millrace.Member{}, millrace.Errorf(millrace.ReasonBadRequest, "there is no change of a member of kind %d", c.Kind)
	case c.Kind == millrace.MemberLeave && (m == nil || m.holder != h):
		return millrace.Member{Session: c.Member.Session}, nil
	case c.Kind == millrace.MemberJoin && m == nil:
		return r.join(ctx, h, c)
	case m == nil:
		return millrace.Member{}, millrace.Errorf(millrace.ReasonNotFound, "the session is no member of %q", c.Topic)
	case c.Generation < m.generation:
		return millrace.Member{}, millrace.Errorf(millrace.ReasonConflict, "the session has gone on elsewhere")
	case c.Kind == millrace.MemberLeave:
		was := m.member()
		return was, r.leave(ctx, m, c.Reason)
	}
	subject, data := m.subject, m.data
	switch c.Kind {
	case millrace.MemberJoin:
		subject, data = c.Member.Subject, string(c.Member.Data)
	case millrace.MemberUpdate:
		data = string(c.Member.Data)
	}
	if err := r.alter(ctx, m, subject, data); err != nil {
		return millrace.Member{}, err
	}
	m.generation = c.Generation
	h.take(m)
	return m.member(), nil
}

// join makes a session a member that is none.
func (r *Roster) join(ctx context.Context, h *holder, c *millrace.MemberChange) (millrace.Member, *millrace.Error) {
	in := r.rooms[c.Topic]
	if in == nil {
		in = &room{topic: c.Topic}
	}
	joined := c.Member.Joined
	if joined.IsZero() {
		joined = r.now()
	}
	m := &membership{
		room: in, session: c.Member.Session, subject: c.Member.Subject, data: string(c.Member.Data), joined: joined.UnixMilli(), generation: c.Generation,
	}
	count, subjects := in.count+1, in.subjects+r.arrives(in, m.subject)
	events := make([]millrace.MemberEvent, 1, 2)
	events[0] = millrace.MemberEvent{Kind: millrace.MemberJoined, Member: m.member(), Count: count, Subjects: subjects}
	if count == 1 && in.topic != millrace.SessionsTopic {
		events = append(events, millrace.MemberEvent{Kind: millrace.TopicOccupied, Count: count, Subjects: subjects})
	}
	if err := r.tell(ctx, in.topic, events); err != nil {
		return millrace.Member{}, err
	}
	r.share(h, m)
	r.rooms[in.topic] = in
	r.members[seat{in, m.session}] = m
	in.subjects += r.arrives(in, m.subject)
	r.count(in, m.subject, 1)
	r.joins++
	in.add(m, r.joins)
	h.take(m)
	return m.member(), nil
}

// share lets a new membership have its texts in common with others that are the same: its session with its other memberships,
// and its data with that of the holder's member before it, since gateways say the same of all their sessions.
func (r *Roster) share(h *holder, m *membership) {
	if other := r.members[seat{r.rooms[millrace.SessionsTopic], m.session}]; other != nil {
		m.session = other.session
		if m.subject == other.subject {
			m.subject = other.subject
		}
	}
	if m.data == h.data {
		m.data = h.data
	} else if m.data != "" {
		h.data = m.data
	}
}

// alter changes what a member is told to be, if that makes a difference.
func (r *Roster) alter(ctx context.Context, m *membership, subject, data string) *millrace.Error {
	if m.subject == subject && m.data == data {
		return nil
	}
	in, now := m.room, *m
	now.subject, now.data = subject, data
	subjects := in.subjects
	if subject != m.subject {
		subjects += r.arrives(in, subject) - r.departs(in, m.subject)
	}
	event := millrace.MemberEvent{Kind: millrace.MemberUpdated, Member: now.member(), Count: in.count, Subjects: subjects}
	if err := r.tell(ctx, in.topic, []millrace.MemberEvent{event}); err != nil {
		return err
	}
	r.count(in, m.subject, -1)
	r.count(in, subject, 1)
	in.subjects = subjects
	m.subject, m.data = subject, data
	return nil
}

// leave ends a membership.
func (r *Roster) leave(ctx context.Context, m *membership, reason string) *millrace.Error {
	in := m.room
	count, subjects := in.count-1, in.subjects-r.departs(in, m.subject)
	gone := m.member()
	gone.Data = nil
	events := make([]millrace.MemberEvent, 1, 2)
	events[0] = millrace.MemberEvent{Kind: millrace.MemberLeft, Member: gone, Reason: reason, Count: count, Subjects: subjects}
	if count == 0 && in.topic != millrace.SessionsTopic {
		events = append(events, millrace.MemberEvent{Kind: millrace.TopicVacated})
	}
	if err := r.tell(ctx, in.topic, events); err != nil {
		return err
	}
	delete(r.members, seat{in, m.session})
	r.count(in, m.subject, -1)
	in.subjects = subjects
	in.remove(m)
	m.unlink()
	if in.count == 0 {
		delete(r.rooms, in.topic)
	}
	return nil
}

// tell appends the events of one change to the lifecycle log of a topic: all of them, or none.
func (r *Roster) tell(ctx context.Context, topic string, events []millrace.MemberEvent) *millrace.Error {
	batch := make([]millrace.Publish, len(events))
	for i := range events {
		e, err := events[i].Event(topic)
		if err != nil {
			return millrace.AsError(err)
		}
		batch[i] = millrace.Publish{Event: e, Tied: i > 0}
	}
	for _, ack := range r.log.Append(ctx, batch) {
		if ack.Err != nil {
			return ack.Err
		}
	}
	return nil
}

// Members implements broker.Roster. A page is named by the member before it.
func (r *Roster) Members(ctx context.Context, topic string, want millrace.MemberRange) (millrace.MemberPage, error) {
	var after millrace.Position // the number of the member before the page, and the roster's mark
	if want.Page != "" {
		var err error
		if after, err = millrace.ParsePosition(want.Page); err != nil || after.Mark != r.mark {
			return millrace.MemberPage{}, millrace.Errorf(millrace.ReasonBadRequest, "this is no page of the members").WithCause(err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return millrace.MemberPage{}, errRosterClosed()
	}
	// What the log has was told under the lock, and so is in the list.
	head, err := r.log.Read(ctx, millrace.PresenceTopic(topic), millrace.Range{})
	if err != nil {
		return millrace.MemberPage{}, err
	}
	page := millrace.MemberPage{AsOf: head.Head}
	in := r.rooms[topic]
	if in == nil {
		return page, nil
	}
	page.Count, page.Subjects = in.count, in.subjects
	if want.Limit < 0 {
		return page, nil
	}
	var last uint64
	if page.Members, last = in.page(after.Offset, cmp.Or(want.Limit, listedMembers)); last > 0 {
		page.Next = millrace.Position{Offset: last, Mark: r.mark}.String()
	}
	return page, nil
}

// Close implements broker.Roster. Nobody is told to have left.
func (r *Roster) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.rooms, r.members, r.subjects, r.holders = nil, nil, nil, nil
	return nil
}

func errRosterClosed() *millrace.Error {
	return millrace.Errorf(millrace.ReasonUnavailable, "the roster is closed")
}
