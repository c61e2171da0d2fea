package gateway

import (
	"container/heap"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// wish is what a subscription wants beside its place. What it does not want is passed over, and the peer need not be told
// of that at once, so the peer may be behind.
type wish struct {
	// Static.
	filter *millrace.Filter
	rate   float64 // events a second; 0: no limit

	told    millrace.Position // where the peer is by what it was told
	over    uint64            // events passed over since then that are none of the conflated
	lagging bool              // in the loop's list of those whose peer is behind
	due     time.Duration     // when the rate allows another event, since the gateway started
	newest  *tail.Entry       // in class ephemeral, at a rate: what the session is to get next
	lost    [2]tail.Count     // likewise: what it is to be told lost before and behind that
	seat    int               // likewise: in the audience's sampled slice
}

// newWish returns what a command wishes, nil for nothing.
func newWish(c Subscribe) *wish {
	if c.Filter == nil && c.MaxRate == 0 {
		return nil
	}
	return &wish{filter: c.Filter, rate: c.MaxRate}
}

func (sub *subscription) rate() float64 {
	if sub.wish == nil {
		return 0
	}
	return sub.wish.rate
}

// wants reports whether the session gets an entry. Gaps and moves concern everyone.
func (sub *subscription) wants(e *tail.Entry) bool {
	if e.Event == nil {
		return true
	}
	if sub.wish != nil && !sub.wish.filter.Passes(e.Event) {
		return false
	}
	return !e.WithheldFrom(sub.session.name)
}

// appendEntries appends the bytes of entries as the session gets them, which reached a position before. What is left out
// is told before the entry that follows on it; at the end at once, or within a second if a filter left it out.
func (sub *subscription) appendEntries(dst []byte, at millrace.Position, entries []*tail.Entry) []byte {
	s, w := sub.session, sub.wish
	ordered := sub.audience.class != millrace.ClassEphemeral
	var over uint64
	if w != nil {
		at, over = w.told, w.over
	}
	for _, e := range entries {
		if !sub.wants(e) {
			over++
			continue
		}
		if e.Moved != nil {
			continue
		}
		if ordered && !e.Follows(at) {
			dst = sub.appendAdvanced(dst, at, e.Before(), over)
		}
		if s.wire.AppendLead != nil {
			dst = sub.appendLead(dst)
		}
		dst = append(dst, s.wire.chunk(s.wireIndex, e)...)
		at, over = e.Position(), 0
	}
	end := entries[len(entries)-1].Position()
	switch {
	case !ordered:
	case w != nil:
		w.told, w.over = at, over
		if at != end {
			sub.audience.loop.lag(sub)
		}
	case at != end:
		dst = sub.appendAdvanced(dst, at, end, over)
	}
	return dst
}

// appendAll appends the bytes of entries that follow on each other and are all for the session, on a wire with leads.
func (sub *subscription) appendAll(dst []byte, entries []*tail.Entry) []byte {
	s := sub.session
	for _, e := range entries {
		dst = sub.appendLead(dst)
		dst = append(dst, s.wire.chunk(s.wireIndex, e)...)
	}
	return dst
}

// appendAdvanced appends what moves the peer from one position to another over events that it does not get, so many of
// which are none of the conflated.
func (sub *subscription) appendAdvanced(dst []byte, from, to millrace.Position, over uint64) []byte {
	s := sub.session
	a := &Advanced{Topic: sub.topic(), Position: to}
	if sub.audience.class == millrace.ClassLatest && to.Offset > from.Offset+over {
		a.Conflated = to.Offset - from.Offset - over
	}
	if s.wire.AppendLead != nil {
		dst = sub.appendLead(dst)
	}
	return s.wire.AppendAdvanced(dst, a)
}

// lag notes that a subscription's peer is behind what was looked at for it.
func (l *loop) lag(sub *subscription) {
	if !sub.wish.lagging {
		sub.wish.lagging = true
		l.lagging = append(l.lagging, sub)
	}
}

// tellLagging tells the peers that are behind where they are, once all were told that the second before found so.
func (l *loop) tellLagging() {
	if len(l.told) == 0 && len(l.lagging) > 0 {
		l.told, l.lagging = l.lagging, l.told
		l.post(call(l.tellMore))
	}
}

// tellMore goes on for a slice of the peers, so that a large audience does not hold up the others.
func (l *loop) tellMore() {
	n := min(len(l.told), l.gateway.config.Slice)
	for _, sub := range l.told[len(l.told)-n:] {
		sub.tellPlace()
	}
	rest := l.told[:len(l.told)-n]
	clear(l.told[len(rest):])
	if l.told = rest; len(rest) > 0 {
		l.post(call(l.tellMore))
	}
}

// tellPlace tells a peer that is behind where it is.
func (sub *subscription) tellPlace() {
	s, w, l := sub.session, sub.wish, sub.session.loop
	w.lagging = false
	to := sub.reached()
	switch {
	case sub.place == placeNone || w.told == to: // ended; or an event came meanwhile
	case s.blocked:
		l.lag(sub)
	default:
		l.scratch = sub.appendAdvanced(l.scratch[:0], w.told, to, w.over)
		w.told, w.over = to, 0
		s.offerCopy(l.scratch)
	}
}

// pageLimit is how many events a page needs to have, 0 for as many as fit: a rate allows one at a time, and what is newest
// by the time of the next is not known yet.
func (sub *subscription) pageLimit() int {
	const filtered = 32
	switch {
	case sub.rate() == 0:
		return 0
	case sub.wish.filter != nil:
		return filtered
	}
	return 1
}

// ration shortens entries so that they have at most one event for a session which wants them at a rate, and notes when
// the next may come.
func (sub *subscription) ration(entries []*tail.Entry) []*tail.Entry {
	if sub.rate() == 0 {
		return entries
	}
	for i, e := range entries {
		if e.Event != nil && sub.wants(e) {
			sub.spend()
			return entries[:i+1]
		}
	}
	return entries
}

func (sub *subscription) spend() {
	interval := time.Duration(float64(time.Second) / sub.wish.rate)
	sub.wish.due = sub.session.gateway.elapsed() + interval
}

// keepPace gives a session that wants events at a rate the next one when it is due: the oldest that is still the newest of
// its key or, in class ephemeral, the newest of all.
func (sub *subscription) keepPace() {
	s, a, w := sub.session, sub.audience, sub.wish
	l := a.loop
	switch {
	case s.blocked:
		sub.stall()
	case w.due > s.gateway.elapsed():
		sub.place = placePaced
		heap.Push(&l.agenda, sub)
	case a.class == millrace.ClassEphemeral:
		sub.takeNewest()
	case sub.pos == a.pos:
		a.wait(sub)
	default:
		bytes := 1 // for one entry
		if w.filter != nil {
			bytes = s.gateway.config.BatchBytes
		}
		entries, attached, found := a.topic.After(sub.pos, a.next, l.batch[:0], bytes)
		switch {
		case len(entries) > 0:
			sub.give(sub.ration(entries))
			clear(entries)
			l.batch = entries[:0]
		case !attached, found:
			a.wait(sub)
		default:
			sub.readOn()
		}
	}
}

// takeNewest gives the session the newest event that it has not got. Those whose place it took are not told, as was asked
// for; what got lost on the way is.
func (sub *subscription) takeNewest() {
	s, a, w := sub.session, sub.audience, sub.wish
	entries := w.lost[0].Gaps(sub.topic())
	if w.newest != nil {
		entries = append(entries, w.newest)
		sub.spend()
	}
	entries = append(entries, w.lost[1].Gaps(sub.topic())...)
	w.newest, w.lost = nil, [2]tail.Count{}
	if len(entries) == 0 {
		a.wait(sub)
		return
	}
	s.offerCopy(sub.appendEntries(nil, sub.pos, entries))
	if !s.ending {
		a.loop.queue(sub)
	}
}

// sample keeps what is newest in the pass that ends for those who want events at a rate, in class ephemeral. It can't be
// left to the tail, which may be full of what they do not want by the time that they are due.
func (a *audience) sample() {
	for _, sub := range a.sampled {
		if sub.count == a.pass.count {
			continue // it came while the pass was under way
		}
		for _, e := range a.pass.entries {
			switch {
			case e.Event == nil:
				sub.wish.lost[1].Add(e)
			case sub.wants(e):
				sub.wish.replace(e)
			}
		}
	}
}

// replace makes an event of class ephemeral the newest.
func (w *wish) replace(e *tail.Entry) {
	w.newest = e
	w.lost[0].Events += w.lost[1].Events
	w.lost[0].Unknown += w.lost[1].Unknown
	w.lost[1] = tail.Count{}
}

func (a *audience) enter(sub *subscription) {
	sub.wish.seat = len(a.sampled)
	a.sampled = append(a.sampled, sub)
}

func (a *audience) exit(sub *subscription) {
	last := len(a.sampled) - 1
	a.sampled[sub.wish.seat] = a.sampled[last]
	a.sampled[sub.wish.seat].wish.seat = sub.wish.seat
	a.sampled[last] = nil
	a.sampled = a.sampled[:last]
}

// isSampled reports whether the subscription is among those of its audience that want the newest at a rate.
func (sub *subscription) isSampled() bool {
	return sub.attached && sub.rate() > 0 && sub.audience.class == millrace.ClassEphemeral
}

// agenda has the subscriptions whose rate allows another event only later, the next one first.
type agenda []*subscription

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].wish.due < a[j].wish.due }

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

// Push implements heap.Interface.
func (a *agenda) Push(x any) {
	sub, _ := x.(*subscription)
	sub.index = len(*a)
	*a = append(*a, sub)
}

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	sub := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	return sub
}

// resume queues the subscriptions that are due, and returns how long it is until the next one; no time if there is none.
func (l *loop) resume() (time.Duration, bool) {
	if len(l.agenda) == 0 {
		return 0, false
	}
	now := l.gateway.elapsed()
	for len(l.agenda) > 0 && l.agenda[0].wish.due <= now {
		sub, _ := heap.Pop(&l.agenda).(*subscription)
		l.queue(sub)
	}
	if len(l.agenda) == 0 {
		return 0, false
	}
	return l.agenda[0].wish.due - now, true
}

// releaseAll queues the subscriptions to one topic, though their rate does not allow another event yet.
func (l *loop) releaseAll(a *audience) {
	var subs []*subscription
	for _, sub := range l.agenda {
		if sub.audience == a {
			subs = append(subs, sub)
		}
	}
	for _, sub := range subs {
		heap.Remove(&l.agenda, sub.index)
		l.queue(sub)
	}
}
