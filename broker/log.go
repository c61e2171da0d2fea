package broker

import (
	"context"

	"github.com/millrace-dev/millrace"
)

// Log is where the events of all topics are kept: what a broker needs of an engine. Package brokertest has the test that
// any Log must pass.
//
// A topic is born with its first event, at offset 1, and its log is then bounded by count, age and bytes. What reading
// leaves behind is nothing: a topic that was never published to has the zero position and stores nothing. Marks are kept
// for longer than events, and a topic's head for longer than those, so that an old position is told apart.
//
// In class latest the log keeps the newest event of each key, at the place where it stands. A tombstone is such an event
// too; it is let go of after the rule's MaxAge, as any event is, and a reader from before it is then told a gap. A new key
// beyond MaxEvents is refused: the state is whole. In class ephemeral nothing is kept and no topic is born; followers are
// told of the events, which have no positions.
//
// All methods may be called concurrently. Errors are a *millrace.Error, or wrap one, where the engine knows the reason;
// those whose reason is not retryable are final.
type Log interface {
	// Append stores events of one or many topics and answers each alone, in the order of the batch; those of one topic
	// get their offsets in that order. The log owns the events from the call on and fills Position, Prev and Time of
	// those that it stores, before anyone else sees them. It keeps neither batch nor the places that Expect points to.
	//
	// Those that are tied are stored together or refused together, with the reason of the first that could not be, and
	// ReasonConflict if some of their IDs were seen and some not.
	//
	// For each event: an ID that the topic has seen from the same Principal inside the dedup window is answered with the
	// first event's position, whatever Expect says. Then Expect must be the topic's head, or the answer is
	// ReasonConflict. An event that no bound of its topic can hold is ReasonTooLarge; a log at a bound of its own answers
	// ReasonFull. A nil Err means stored, with all that the engine promises of stored events.
	Append(ctx context.Context, batch []millrace.Publish) []millrace.Ack

	// Read returns a part of one topic's log, whole, or fails. The caller owns the page's slice; the events are shared.
	// A forward range may start anywhere, a backward range now or after a position.
	//
	// Forward after a position P:
	//   - the zero P fits a log that still has its first event, or was never published to; else what is missing from
	//     offset 1 on is a CauseTrimmed gap;
	//   - a P that is not of this lineage (beyond the head, another mark, or one that can't be checked any more) is a
	//     CauseReset gap until the place before the oldest event that is kept, or the head if none is;
	//   - a P that fits, while events after it are gone, is a CauseTrimmed gap until the same place.
	//
	// In class latest a P before a key that was let go of is a CauseTrimmed gap until the place before the oldest event
	// that is kept, unless Start.Lost says that the reader began its state since then. In class ephemeral there is nothing to read: ReasonUnsupported.
	//
	// The other starts become a position first, and so never yield a gap. Backward from a position that is not of this
	// lineage is ReasonCursorInvalid, since there is nothing that such a page could be whole of.
	Read(ctx context.Context, topic string, r millrace.Range) (millrace.Page, error)

	// Follow makes the log tell f of each event that is appended to the topic after head, until stop is called. ctx
	// bounds only the call itself. Stop returns once f is not being told and will not be again; it waits for nothing
	// remote, may be called more than once, and not by f.
	Follow(ctx context.Context, topic string, f Follower) (head millrace.Position, stop func(), err error)

	// Watch makes the log tell w of each topic that the pattern covers, until stop is called: of those that there are before
	// it returns, and then of each that is born, on the way of the append and before its followers are told. A topic may
	// be told more than once. A topic of class ephemeral is told with each of its events. ctx and stop are as for Follow.
	Watch(ctx context.Context, pattern millrace.Pattern, w Watcher) (stop func(), err error)

	// Rule returns the rule that a topic is kept by. It does not wait, and the rule must not be changed.
	Rule(topic string) *Rule

	// Topics returns the topics that have a head, in the order of their names: at most limit of those that come after a
	// name, "" for the first ones. Each is right by itself; they need not be of the same moment. The caller owns the
	// slice.
	Topics(ctx context.Context, after string, limit int) ([]TopicState, error)

	// Close lets go of what the engine holds and waits for its goroutines. Other methods fail with ReasonUnavailable
	// from then on.
	Close() error
}

// Follower is told of the events of one topic.
type Follower interface {
	// Appended tells of events in the order in which they were appended, for one topic never concurrently. The slice is
	// the log's and changes after the call; the events are shared. It is called on the way of an append and must neither
	// wait nor call the log. An engine whose news travel over a bus may lose or repeat some: the follower checks them by
	// position, and has Read for the rest.
	Appended(events []*millrace.Event)
}

// Watcher is told of topics.
type Watcher interface {
	// Matched tells of a topic and its head, which is zero if it is being born or has no positions. It must neither wait
	// nor call the log, and may be called concurrently.
	Matched(topic string, head millrace.Position)
}

// TopicState describes one topic's log.
type TopicState struct {
	Topic  string
	Head   millrace.Position // after the newest event
	Oldest millrace.Position // before the oldest event that is kept; the head if none is
	Events int               // how many are kept
	Bytes  int64             // what they are charged for, see millrace.Event.Size
}
