package gateway

import (
	"slices"
	"sync/atomic"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/source"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// audience is one loop's part of a topic: its sessions' subscriptions. Those that are live stand in slices by wire, all
// at the audience's own position, so that a delivery looks nothing up: whoever is in the slice gets the bytes.
type audience struct {
	topic *source.Topic
	loop  *loop

	scheduled atomic.Bool // it is in the loop's mailbox

	// Owned by the loop.
	ready   bool // what follows means something
	class   millrace.Class
	pos     millrace.Position // what every live subscription has, but for the pass under way
	count   tail.Count        // likewise
	next    uint64            // number of the tail's entry that comes next
	lost    uint64            // Page.Lost of the last page; 0 once a gap came by the tail
	reading bool              // it fell behind the tail and reads the log
	refused *millrace.Error   // the upstream will not have the topic
	held    int               // subscriptions, in any place
	live    [MaxWires][]*subscription
	sampled []*subscription // see sample
	waiting []*subscription // for the topic to attach, or for the audience to move
	pass    pass
}

// pass is one batch of entries on its way to all live subscriptions. It may take several turns of the loop, so that a
// large audience does not hold up the others. In the slice of the wire under way the first left subscriptions have not
// got the batch yet; in those of the wires before all have, in those behind none.
type pass struct {
	entries []*tail.Entry // none: no pass is under way
	pos     millrace.Position
	count   tail.Count
	next    uint64 // 0: to be found by pos
	sender  string // session that must not get the one event that is there; empty if none
	joined  [MaxWires][]byte
	wire    int
	left    int
}

func (p *pass) active() bool { return len(p.entries) > 0 }

// Schedule puts the audience into its loop's mailbox, once. It may be called by any goroutine.
func (a *audience) Schedule() {
	if !a.scheduled.Swap(true) {
		a.loop.post(a)
	}
}

// run gives the audience a turn.
func (a *audience) run(l *loop) {
	a.scheduled.Store(false)
	if a.pass.active() {
		a.deliver()
		return
	}
	if a.reading || a.held == 0 {
		return
	}
	v := a.topic.Since(a.next, l.batch[:0], l.gateway.config.BatchBytes)
	switch {
	case v.Refused != nil:
		a.refuse(v.Refused)
	case !v.Known:
	case !a.ready:
		a.ready, a.class, a.pos, a.count, a.next = true, v.Class, v.Head, v.Count, v.End
		a.wake()
	case v.Behind && a.class == millrace.ClassEphemeral:
		a.next = v.First // what was lost is counted with the next entry
		a.Schedule()
	case v.Behind:
		a.read()
	case len(v.Entries) > 0:
		batch := cutWithheld(v.Entries)
		next := a.next + uint64(len(batch))
		if a.class == millrace.ClassEphemeral {
			batch = a.withLost(batch)
		}
		a.begin(batch, next)
		clear(v.Entries)
		l.batch = v.Entries[:0]
	case v.Attached:
		a.wake()
	}
}

// cutWithheld shortens a batch so that an event which some session must not get is the only one.
func cutWithheld(entries []*tail.Entry) []*tail.Entry {
	first := true
	for i, e := range entries {
		switch {
		case e.Event == nil:
			continue
		case e.Event.NoEcho && first:
			return entries[:i+1]
		case e.Event.NoEcho:
			return entries[:i]
		}
		first = false
	}
	return entries
}

// withLost puts before a batch what was lost since the entry that came last, because this loop was too slow for the tail.
func (a *audience) withLost(batch []*tail.Entry) []*tail.Entry {
	var own tail.Count
	own.Add(batch[0])
	if lost := batch[0].Count.Since(own).Since(a.count); lost != (tail.Count{}) {
		return append(lost.Gaps(a.topic.Name()), batch...)
	}
	return batch
}

// begin starts a pass with at least one entry. next is the number of the entry behind them in the tail, 0 if they come
// from the log.
func (a *audience) begin(entries []*tail.Entry, next uint64) {
	p := &a.pass
	p.entries = append(p.entries, entries...)
	last := entries[len(entries)-1]
	p.pos, p.count, p.next = last.Position(), last.Count, next
	p.sender = ""
	if slices.ContainsFunc(entries, (*tail.Entry).IsGap) {
		a.lost = 0 // which is perhaps of a log that is lost
	}
	for _, e := range entries {
		if e.Event != nil && e.Event.NoEcho {
			p.sender = e.Event.Sender.Session
		}
	}
	p.wire, p.left = 0, len(a.live[0])
	a.deliver()
}

// deliver goes on with the pass for one slice of its subscriptions.
func (a *audience) deliver() {
	p := &a.pass
	wires := a.loop.gateway.wires
	budget := a.loop.gateway.config.Slice
	for p.wire < len(wires) {
		for p.left > 0 {
			if budget == 0 {
				a.Schedule()
				return
			}
			budget--
			p.left--
			a.deliverTo(a.live[p.wire][p.left])
		}
		p.wire++
		if p.wire < len(wires) {
			p.left = len(a.live[p.wire])
		}
	}
	a.finish()
}

func (a *audience) deliverTo(sub *subscription) {
	p, s := &a.pass, sub.session
	var ok bool
	switch {
	case s.blocked:
	case sub.wish != nil, p.sender != "" && p.sender == s.name:
		a.loop.scratch = sub.appendEntries(a.loop.scratch[:0], a.pos, p.entries)
		ok = len(a.loop.scratch) == 0 || s.offerCopy(a.loop.scratch)
	case s.wire.AppendLead != nil:
		a.loop.scratch = sub.appendAll(a.loop.scratch[:0], p.entries)
		ok = s.offerCopy(a.loop.scratch)
	default:
		ok = s.offerShared(p.bytes(s.wireIndex, s.wire))
	}
	if !ok && !s.ending {
		a.drop(sub)
		sub.pos, sub.count = a.pos, a.count
		sub.stall()
	}
}

// bytes returns the batch as one piece of shared bytes for a wire.
func (p *pass) bytes(index int, w *Wire) []byte {
	if len(p.entries) == 1 {
		return w.chunk(index, p.entries[0])
	}
	if p.joined[index] == nil {
		n := 0
		for _, e := range p.entries {
			n += len(w.chunk(index, e))
		}
		b := make([]byte, 0, n)
		for _, e := range p.entries {
			b = append(b, w.chunk(index, e)...)
		}
		p.joined[index] = b
	}
	return p.joined[index]
}

// finish ends the pass: everyone live has the batch.
func (a *audience) finish() {
	p := &a.pass
	a.sample()
	a.pos, a.count, a.next = p.pos, p.count, p.next
	clear(p.entries)
	p.entries = p.entries[:0]
	p.joined = [MaxWires][]byte{}
	if a.next == 0 {
		a.next, _ = a.topic.Locate(a.pos) // 0, if the tail has other events: then the log is read once more
	}
	a.wake()
	a.Schedule()
}

// read fetches what the tail no longer has, once for the whole audience.
func (a *audience) read() {
	a.reading = true
	a.loop.gateway.replays.Read(a.loop, a.topic.Name(), millrace.Start{Kind: millrace.StartAfter, After: a.pos, Lost: a.lost}, 0, a)
}

// take receives what read fetched.
func (a *audience) take(page millrace.Page, err error) {
	a.reading = false
	a.next = 0 // unless it is found again: then the next turn or tick reads once more
	if a.pass.active() || a.held == 0 {
		return
	}
	if err != nil {
		return
	}
	if entries := a.appendPage(nil, a.pos, page); len(entries) > 0 {
		a.begin(cutWithheld(entries), 0)
		a.lost = page.Lost
		return
	}
	if next, ok := a.topic.Locate(a.pos); ok {
		a.next = next
		a.Schedule()
	}
}

// appendPage appends a page of the log as entries that lead on from a position. What the log left out between the events,
// and behind the last, is moved over.
func (a *audience) appendPage(dst []*tail.Entry, at millrace.Position, page millrace.Page) []*tail.Entry {
	over := func(to millrace.Position) {
		if a.class == millrace.ClassLatest && to.Offset > at.Offset {
			dst = append(dst, &tail.Entry{Moved: &tail.Move{Topic: a.topic.Name(), Position: to, Conflated: to.Offset - at.Offset}})
			at = to
		}
	}
	if page.Gap != nil {
		dst = append(dst, &tail.Entry{Gap: page.Gap})
		at = page.Gap.Until
	}
	for _, e := range page.Events {
		over(e.Before())
		dst = append(dst, &tail.Entry{Event: e})
		at = e.Position
	}
	if !page.More {
		over(page.Head)
	}
	return dst
}

// join makes a subscription live. It must be at the audience's position, and no pass under way.
func (a *audience) join(sub *subscription) {
	i := sub.session.wireIndex
	sub.place, sub.index, sub.lost = placeLive, len(a.live[i]), 0
	a.live[i] = append(a.live[i], sub)
}

// drop takes a subscription out of the live ones. One that a pass under way has yet to reach leaves without the batch.
func (a *audience) drop(sub *subscription) {
	wire, i := sub.session.wireIndex, sub.index
	subs := a.live[wire]
	swap := func(i, j int) {
		subs[i], subs[j] = subs[j], subs[i]
		subs[i].index, subs[j].index = i, j
	}
	if p := &a.pass; p.active() && p.wire == wire && i < p.left {
		p.left--
		swap(i, p.left)
		i = p.left
	}
	last := len(subs) - 1
	swap(i, last)
	subs[last] = nil
	a.live[wire] = subs[:last]
}

// served reports whether a live subscription already has the batch of the pass under way.
func (a *audience) served(sub *subscription) bool {
	p, wire := &a.pass, sub.session.wireIndex
	return p.active() && (wire < p.wire || wire == p.wire && sub.index >= p.left)
}

// wait parks a subscription until the topic attaches or the audience moves.
func (a *audience) wait(sub *subscription) {
	if a.refused != nil { // nobody would wake it
		a.loop.queue(sub)
		return
	}
	sub.place, sub.index = placeWaiting, len(a.waiting)
	a.waiting = append(a.waiting, sub)
}

func (a *audience) stopWaiting(sub *subscription) {
	last := len(a.waiting) - 1
	a.waiting[sub.index] = a.waiting[last]
	a.waiting[sub.index].index = sub.index
	a.waiting[last] = nil
	a.waiting = a.waiting[:last]
}

// wake lets all who wait look again.
func (a *audience) wake() {
	for i, sub := range a.waiting {
		a.waiting[i] = nil
		a.loop.queue(sub)
	}
	a.waiting = a.waiting[:0]
}

// tellPending tells those who wait for the topic to attach that it will take a while.
func (a *audience) tellPending() {
	for _, sub := range slices.Clone(a.waiting) {
		if sub.place == placeWaiting && !sub.attached && !sub.told && !sub.born {
			sub.told = true
			sub.session.say(sub.re, sub.subscribed())
			sub.re = 0
			sub.proceed()
		}
	}
}

// refuse ends all subscriptions, since the upstream will not have the topic. Those whose log or socket makes them wait end
// when they have waited; whoever comes meanwhile asks the upstream anew.
func (a *audience) refuse(err *millrace.Error) {
	a.refused = err
	a.loop.gateway.sources.Discard(a.topic)
	a.loop.hide(a)
	for _, subs := range a.live {
		for _, sub := range slices.Backward(subs) {
			a.drop(sub)
			sub.pos = a.pos // for the cursors that are told before its turn comes
			a.loop.queue(sub)
		}
	}
	if a.class != millrace.ClassLog {
		a.loop.releaseAll(a)
	}
	a.wake()
}
