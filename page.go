package millrace

// Range asks for a part of one topic's log. Its start is as for a subscription, where StartNow reads nothing forward and the
// newest events backward.
type Range struct {
	Start Start // forward: where to begin. Backward: StartDefault or StartNow for the newest, StartAfter for the events up to a position

	Backward bool // newest first
	State    bool // in class latest: no tombstones; other classes refuse it as ReasonUnsupported
	Limit    int  // at most so many events; 0: as many as MaxBytes allows
	MaxBytes int  // stop once the events' sizes reach this; 0: no bound but Limit. At least one event is returned
}

// Page is a part of a topic's log. Events are in the order asked for. Next is the position to go on from in the same
// direction. A page is whole: what it could not have is in Gap, never left out in silence. In class latest the events are
// the newest of their keys, and offsets between them are missing.
type Page struct {
	Events []*Event
	Gap    *Gap     // precedes the events; only when reading forward from a position that the log no longer has
	Next   Position // forward: after the last event (or the gap, or the start). Backward: before the oldest returned
	Head   Position // the topic's newest position at the time of reading
	More   bool     // there was more in this direction at the time of reading
	Class  Class    // the topic's

	// Lost is, in class latest, the offset of the newest event that the log had let go of, without a newer one of its key,
	// when this was read. Whoever stands before it is owed a gap, but for those on their way through a state that they
	// began since: they say so by Start.Lost.
	Lost uint64
}

// Resume returns the start of the next page in forward direction.
func (p *Page) Resume() Start { return Start{Kind: StartAfter, After: p.Next, Lost: p.Lost} }
