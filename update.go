package millrace

// UpdateKind says what an Update tells.
type UpdateKind int

// The kinds of update.
const (
	UpdateAttached UpdateKind = iota + 1 // the subscription holds from Position on: what follows has neither hole nor repeat
	UpdateEvents                         // Events come next, in offset order
	UpdateGap                            // Gap comes next; the subscription goes on at its Until
	UpdateDetached                       // the source can't be reached; an UpdateAttached with the last position follows when it is back
	UpdateRefused                        // the subscription ended with Err
)

// Update is one piece of news on one subscription. Seen in order, the updates of a subscription are its topic's log from
// where it attached, with every hole named. The receiver must not change what an update refers to.
type Update struct {
	Kind     UpdateKind
	Topic    string
	Position Position
	Events   []*Event
	Gap      *Gap
	Err      *Error
}
