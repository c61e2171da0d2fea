package gateway

import (
	"context"
	"crypto/rand"
	"math"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/seal"
	"github.com/millrace-dev/millrace/gateway/internal/turn"
)

// Opening is what a peer asks for when it connects.
type Opening struct {
	Grant      *millrace.Grant // who the peer is and what it may do; not nil
	Topics     []Subscribe     // subscribed from the start, unless the cursor has topics
	Joins      []Join          // memberships from the start, those of the cursor beside them
	Cursor     string          // the cursor of a former session, "" if there is none
	Wish       millrace.Option // filter and rate of the cursor's topics, in place of what it says; if Topics is empty
	Heartbeats bool            // the peer wants Heartbeat frames beside the wire's pings
}

// asked returns the topics that the opening names.
func (o Opening) asked() []Subscribe {
	topics := slices.Clone(o.Topics)
	for _, j := range o.Joins {
		if !slices.ContainsFunc(topics, func(t Subscribe) bool { return t.Topic == j.Topic }) {
			topics = append(topics, j.Subscribe)
		}
	}
	return topics
}

// subscriptions returns the topics that an opening asks for: those of its cursor, or else its own, and those that it joins in
// any case. A topic that the cursor
// has no position of was never attached, so it still begins where the opening says: the peer has got nothing of it. What
// the opening wishes goes before what the cursor says, for the topics that the opening names or, if it names none, for all.
func (o Opening) subscriptions() (topics []Subscribe, seal string, resumes bool, err error) {
	topics = o.asked()
	if o.Cursor != "" {
		cursor, err := millrace.ParseCursor(o.Cursor)
		if err != nil {
			return nil, "", false, err
		}
		seal = cursor.Seal
		if len(cursor.Pieces) > 0 {
			topics, resumes = o.resume(cursor, topics), true
		}
	}
	for _, j := range o.Joins {
		i := slices.IndexFunc(topics, func(t Subscribe) bool { return t.Topic == j.Topic })
		if i < 0 {
			i, topics = len(topics), append(topics, j.Subscribe)
		}
		topics[i].join(j)
	}
	for _, t := range topics {
		if err := t.validate(); err != nil {
			return nil, "", false, err
		}
	}
	return topics, seal, resumes, nil
}

func (o Opening) resume(cursor millrace.Cursor, asked []Subscribe) SubscribeAll {
	wish := o.Wish
	if len(asked) > 0 {
		wish = millrace.Option{}
	}
	for _, own := range asked {
		named := slices.ContainsFunc(cursor.Pieces, func(p millrace.Piece) bool { return p.Topic == own.Topic })
		if named && own.wishes() {
			cursor.Options = append(cursor.Options, own.option())
		}
	}
	topics := Resume(cursor, wish)
	for i := range topics {
		t := &topics[i]
		j := slices.IndexFunc(asked, func(own Subscribe) bool { return own.Topic == t.Topic || own.Topic == t.Pattern })
		if j >= 0 && t.Start.Kind == millrace.StartDefault {
			t.Start = asked[j].Start
		}
	}
	return topics
}

// join gives a subscription the membership that its opening asks for, if there is none to take over.
func (c *Subscribe) join(j Join) {
	if c.entry == nil {
		c.entry, c.Members, c.Pattern = &entry{}, j.Members, ""
	}
	c.entry.joins, c.entry.data = true, j.Data
}

// Open begins a session on a connection. On success the session owns the transport and has said its first words; the
// caller's part is then to read. The error is a *millrace.Error, and the transport is still the caller's.
//
// Where more sessions are opened than Config.AdmitRate allows it waits for its turn, no longer than Config.MaxAdmitWait
// and until ctx ends; those whose cursor has topics come first. One that would have to wait longer is refused as full,
// with the time after which to come back.
func (g *Gateway) Open(ctx context.Context, o Opening, w *Wire, t Transport) (*Session, error) {
	wireIndex := slices.Index(g.wires, w)
	if wireIndex < 0 {
		return nil, millrace.Errorf(millrace.ReasonUnsupported, "this gateway does not speak %s", w.Name)
	}
	topics, seal, resumes, err := g.check(o)
	if err != nil {
		return nil, err
	}
	if err := g.room(); err != nil {
		return nil, err // which no turn would change
	}
	class := turn.Second
	if resumes {
		class = turn.First // for each of its topics holds a place that the tail may soon lose
	}
	if err := g.gate.Pass(ctx, class); err != nil {
		return nil, err
	}
	s := &Session{
		gateway: g, wire: w, wireIndex: wireIndex, transport: t, grant: o.Grant, heartbeats: o.Heartbeats,
		done: make(chan struct{}), slot: noSlot,
	}
	holder, sealed := g.sealer.Open(seal, o.Grant.Subject)
	tookOver := g.lockVacating(holder, sealed) // until the beginning is posted, so that whoever finds the session posts after it
	defer g.mu.Unlock()
	g.opened++
	s.ordinal = g.opened
	s.loop = g.loops[s.ordinal%uint64(len(g.loops))]
	if err := g.admit(s, holder, sealed); err != nil {
		return nil, err
	}
	if tookOver {
		s.came = s.generation // else two peers with one cursor, of whom nothing is heard, would take over from each other for ever
	}
	s.loop.post(call(func() {
		now := g.clock.Load()
		s.hear()
		s.pingAt = now + 1 + mathrand.Int64N(seconds(w.PingInterval))
		s.oldAt = g.oldAt()
		s.loop.wheel.add(s, s.due(now))
		s.begin(topics)
	}))
	return s, nil
}

// Check returns the error that Open would return for an opening as it stands: one that the peer must not come back with
// unchanged if the opening is at fault, else one that it may. It is for wires that have to answer before they are open.
func (g *Gateway) Check(o Opening) error {
	if _, _, _, err := g.check(o); err != nil {
		return err
	}
	return g.Ready()
}

func (g *Gateway) check(o Opening) (topics []Subscribe, seal string, resumes bool, err error) {
	topics, seal, resumes, err = o.subscriptions()
	if err != nil {
		return nil, "", false, err
	}
	if n := g.config.MaxTopics; len(topics) > n {
		return nil, "", false, millrace.Errorf(millrace.ReasonTooManyTopics, "a session may have at most %d topics", n)
	}
	if err := g.barred(seal, o.Grant.Subject); err != nil {
		return nil, "", false, err
	}
	return topics, seal, resumes, nil
}

// lockVacating locks g.mu when no session is in the way of a peer that brings its seal, and reports whether one was.
func (g *Gateway) lockVacating(h seal.Holder, sealed bool) (vacated bool) {
	g.mu.Lock()
	if !sealed {
		return false
	}
	name := h.ID.String()
	for live := g.sessions[name]; live != nil && live.givesWay(h.Generation); live = g.sessions[name] {
		g.mu.Unlock()
		live.giveWay()
		vacated = true
		g.mu.Lock()
	}
	return vacated
}

// admit gives the session its identity: that of the seal, if it was made for this subject and is not in use here. It runs
// under g.mu: whoever drains or closes the gateway and then looks under g.mu finds every session that was admitted.
func (g *Gateway) admit(s *Session, h seal.Holder, sealed bool) error {
	if err := g.vacant(); err != nil {
		return err
	}
	if name := h.ID.String(); sealed && g.sessions[name] == nil && h.Generation < math.MaxInt32 {
		s.came = h.Generation
		h.Generation = max(h.Generation, g.absences.Generation(name)) + 1
	} else {
		h.Generation = 1
		if _, err := rand.Read(h.ID[:]); err != nil {
			return millrace.AsError(err)
		}
	}
	h.At = time.Now()
	s.name, s.generation = h.ID.String(), h.Generation
	s.seal = g.sealer.Seal(h, s.grant.Subject)
	g.sessions[s.name] = s
	return nil
}

// givesWay reports whether the session gives way to a peer that brings its seal, of a generation: the peer that has come last
// is the session's, but not one with an older seal than the session's peer has, which is a copy. As long as nothing was heard
// of that peer it may have got no newer seal than the one that it came with, unless it took over from one that was open.
func (s *Session) givesWay(generation uint32) bool {
	if s.resumed() && !s.met.Load() {
		return generation >= s.came
	}
	return generation >= s.generation
}

// giveWay ends the session, which goes on with another connection, and waits until its memberships are there to be taken
// over. The last words are said if they are taken at once.
func (s *Session) giveWay() {
	gone := make(chan struct{})
	s.loop.post(call(func() {
		s.end(errWentOn)
		s.over()
		close(gone)
	}))
	select {
	case <-gone:
	case <-s.done:
	}
}

// begin says the first words and makes the first subscriptions. The session holds its topics before it says anything, so
// that the cursor which goes with the first words already resumes them.
func (s *Session) begin(topics []Subscribe) {
	var refusals []Unsubscribed
	s.prefix = s.seal
	if own, ok := s.personal(); ok {
		topics = append(topics, Subscribe{Topic: own})
	}
	for _, t := range topics {
		if err := s.holdEither(t); err != nil {
			refusals = append(refusals, Unsubscribed{Topic: t.Topic, Err: err})
		}
	}
	s.refresh()
	s.fresh = false
	s.say(0, Connected{
		Session: s.name, Subject: s.grant.Subject, Resumed: s.resumed(), Prefix: s.prefix,
		PingInterval: s.wire.PingInterval, MaxFrameBytes: s.gateway.config.MaxFrameBytes,
		MaxTopics: s.gateway.config.MaxTopics, Expires: s.grant.Expires,
	})
	for _, f := range refusals {
		s.say(0, f)
	}
	if !s.ending { // or it would come behind what becomes of the memberships
		s.appear()
	}
	for _, sub := range slices.Clone(s.subs) {
		if sub.place == placeNone && !s.ending {
			sub.advance()
		}
	}
	for _, sub := range slices.Clone(s.subs) {
		if sub.part != nil {
			sub.part.begin()
		}
	}
}
