package sdk

import (
	"context"
	"iter"

	"github.com/millrace-dev/millrace"
)

// MemberWatch is the list of a topic's members, as it changes. It is for one goroutine at a time.
type MemberWatch struct {
	// Static.
	client *Client
	topic  string
	ctx    context.Context // ends the watch

	roll    millrace.Roll
	known   bool          // the list was read once
	changes *Subscription // to the lifecycle log, from where the list was read; nil until it was, and after it had a hole
}

// WatchMembers returns the list of a topic's members, which is empty until the first Next. It lives until ctx ends or Close.
// The error is that of a bad topic, before anything is sent.
//
// The token must allow to see the members. Of millrace.SessionsTopic the list is that of all sessions, for which it must be
// that of a gateway.
func (c *Client) WatchMembers(ctx context.Context, topic string) (*MemberWatch, error) {
	if err := millrace.ValidateTopic(topic); err != nil {
		return nil, err
	}
	return &MemberWatch{client: c, topic: topic, ctx: ctx}, nil
}

// Next waits until something is told of the list, changes it, and returns the difference: the first time everyone. After a hole
// in the changes the list is read anew, and the difference is told like any other. So whoever keeps to these differences has
// the list. While the broker can't be reached it goes on waiting. The error is a *millrace.Error. It may be
// called again after one, unless ctx has ended, the list was refused or the client is closed.
func (w *MemberWatch) Next(ctx context.Context) (millrace.RollChange, error) {
	for {
		if w.changes == nil {
			first := !w.known
			change, err := w.read(ctx)
			if err != nil || first || !empty(change) {
				return change, err
			}
		}
		u, err := w.changes.Next(ctx)
		if err != nil {
			return millrace.RollChange{}, err
		}
		switch u.Kind {
		case millrace.UpdateEvents:
			change, err := w.apply(u.Events)
			if err != nil || !empty(change) {
				return change, err
			}
		case millrace.UpdateGap:
			w.forsake()
		case millrace.UpdateRefused:
			w.forsake()
			return millrace.RollChange{}, u.Err
		case millrace.UpdateAttached, millrace.UpdateAdvanced, millrace.UpdateDetached, millrace.UpdateMatched:
		}
	}
}

func empty(c millrace.RollChange) bool { return len(c.Joined)+len(c.Updated)+len(c.Left) == 0 }

// maxReads is how often a list is read from the beginning at a time. Again is needed when a broker that lost its memory does
// not know its own page any more.
const maxReads = 3

// read reads the list, all of it, and subscribes to what changes from the first page on.
func (w *MemberWatch) read(ctx context.Context) (millrace.RollChange, error) {
	var members []millrace.Member
	var asOf millrace.Position
	var err error
	for range maxReads {
		members, asOf, err = w.readAll(ctx)
		if err == nil || millrace.AsError(err).Reason != millrace.ReasonBadRequest {
			break
		}
	}
	if err != nil {
		return millrace.RollChange{}, err
	}
	w.changes, err = w.client.Subscribe(w.ctx, TopicsFrom(millrace.After(asOf), millrace.PresenceTopic(w.topic)))
	if err != nil {
		return millrace.RollChange{}, err
	}
	w.known = true
	return w.roll.Replace(members), nil
}

// readAll returns all members, and as of which position the first page was.
func (w *MemberWatch) readAll(ctx context.Context) (members []millrace.Member, asOf millrace.Position, _ error) {
	first := true
	for page, err := range w.client.memberPages(ctx, w.topic) {
		if err != nil {
			return nil, asOf, err
		}
		if first {
			first, asOf = false, page.AsOf
		}
		members = append(members, page.Members...)
	}
	return members, asOf, nil
}

// apply takes events of the lifecycle log and returns what they make different, taken together.
func (w *MemberWatch) apply(events []*millrace.Event) (millrace.RollChange, error) {
	told := make([]millrace.MemberEvent, len(events))
	for i, e := range events { // all of them before any: what was applied would else be told to nobody
		var err error
		if told[i], err = millrace.ParseMemberEvent(e); err != nil {
			w.forsake()
			return millrace.RollChange{}, err
		}
	}
	before := map[string]*millrace.Member{}
	for _, m := range told {
		session := m.Member.Session
		was, ok := w.roll.Get(session)
		if !w.roll.Apply(m) {
			continue
		}
		if _, seen := before[session]; seen {
			continue
		}
		before[session] = nil
		if ok {
			before[session] = &was
		}
	}
	var change millrace.RollChange
	for session, was := range before {
		switch now, ok := w.roll.Get(session); {
		case ok && was == nil:
			change.Joined = append(change.Joined, now)
		case ok:
			change.Updated = append(change.Updated, now)
		case was != nil:
			change.Left = append(change.Left, *was)
		}
	}
	return change, nil
}

// forsake ends the subscription to the changes, so that the list is read anew.
func (w *MemberWatch) forsake() {
	w.changes.Close()
	w.changes = nil
}

// Members returns the members as of the last Next, in no promised order.
func (w *MemberWatch) Members() iter.Seq[millrace.Member] { return w.roll.Members() }

// Get returns the member that a session is, as of the last Next.
func (w *MemberWatch) Get(session string) (millrace.Member, bool) { return w.roll.Get(session) }

// Counts returns how many members there are as of the last Next, and how many distinct subjects they have.
func (w *MemberWatch) Counts() (members, subjects int) { return w.roll.Len(), w.roll.Subjects() }

// Close ends the watch and waits until nothing of it runs. It may be called more than once.
func (w *MemberWatch) Close() {
	if w.changes != nil {
		w.forsake()
	}
}
