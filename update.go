package millrace

// UpdateKind says what an Update tells.
type UpdateKind int

// The kinds of update.
const (
	UpdateAttached UpdateKind = iota + 1 // the subscription holds from Position on: what follows has neither hole nor repeat
	UpdateEvents                         // Events come next, in offset order, the first right behind the last position
	UpdateGap                            // Gap comes next; the subscription goes on at its Until
	UpdateAdvanced                       // the subscription stands at Position: what is before it was filtered, withheld or conflated
	UpdateDetached                       // the source can't be reached; an UpdateAttached with the last position follows when it is back
	UpdateRefused                        // the subscription ended with Err
	UpdateMatched                        // the pattern Pattern covers Topic, which stands at Position; zero if it was born just now
)

// Update is one piece of news on one subscription. Seen in order, the updates of a subscription are its topic's log from
// where it attached, with every hole named: each event follows on the position that the updates before it led to. The
// receiver must not change what an update refers to.
//
// A subscription to a pattern is told of topics, not of events: UpdateMatched for each topic that it covers, once, and
// UpdateAttached when those that there were have been told.
type Update struct {
	Kind      UpdateKind
	Topic     string // what was subscribed to; the matched topic in UpdateMatched
	Position  Position
	Events    []*Event
	Gap       *Gap
	Conflated uint64 // in UpdateAdvanced: how many of the events passed over were left out as older ones of their key, or of keys that are gone
	Class     Class  // in UpdateAttached and UpdateMatched: the topic's
	Pattern   string // in UpdateMatched
	Err       *Error
}
