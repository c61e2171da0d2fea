package gateway

import (
	"time"

	"github.com/millrace-dev/millrace"
)

// Frame is what a gateway says to one session. The frames that go to many, events and gaps, are told as such.
type Frame interface{ frame() }

// The frames.
type (
	// Connected is the first frame of a session.
	Connected struct {
		Session string
		Subject string // empty for an anonymous peer
		Resumed bool   // the session of the peer's cursor goes on, under its id
		Prefix  string // what every cursor of this session begins with, until a frame says otherwise: seal and options

		PingInterval  time.Duration // how often the peer hears something, at least
		MaxFrameBytes int           // the largest frame that the peer may send
		MaxTopics     int           // how many topics the session may have
		Expires       time.Time     // when the grant ends; zero: never
	}

	// Subscribed says that a subscription holds from Position on, or that it waits for the broker. One to a pattern holds
	// once the session has all topics that there were.
	Subscribed struct {
		Topic    string // or a pattern
		Class    millrace.Class
		Position millrace.Position // see HasPosition
		Pending  bool              // not attached yet: there is no position, and another Subscribed follows
		Pattern  string            // that the topic is held for; empty if it was asked for itself
		Prefix   string            // what the session's cursors begin with from here on; empty if that is as it was
	}

	// Unsubscribed says that a subscription ended: asked for, or with its error. With a pattern that was asked to end all
	// topics that are held for it end too; if it ended with an error they stay, each for itself.
	Unsubscribed struct {
		Topic  string // or a pattern
		Err    *millrace.Error
		Prefix string // as in Subscribed
	}

	// Advanced moves a topic's position over what is not for the session. It comes before the event that follows on it.
	Advanced struct {
		Topic     string
		Position  millrace.Position
		Conflated uint64 // how many of the events passed over were older ones of their key; the others were filtered or withheld
	}

	// Published acks one publish: it is stored.
	Published struct{ Ack millrace.Ack }

	// History answers a history command.
	History struct {
		Topic string
		Page  millrace.Page
	}

	// Joined says that the session is a member.
	Joined struct {
		Topic    string
		Member   millrace.Member // that the session is
		Count    int             // members
		Subjects int             // distinct subjects of them
		Prefix   string          // as in Subscribed
	}

	// Left says that the session is no longer a member: asked for, or with its error. The subscription stays.
	Left struct {
		Topic  string
		Err    *millrace.Error
		Prefix string // as in Subscribed
	}

	// MemberChanges tells who came, changed and went in a topic. It goes to many, and is told as such.
	MemberChanges struct {
		Topic     string
		Reset     bool // forget what was told before: Joined is everyone
		Joined    []millrace.Member
		Updated   []millrace.Member
		Left      []millrace.Member // without data
		Count     int               // members after this
		Subjects  int               // distinct subjects of them
		CountOnly bool              // there are too many to list: only the counts are told, until a reset
		AsOf      millrace.Position // in the topic's lifecycle log
	}

	// Presence answers a ReadMembers.
	Presence struct {
		Topic string
		Page  millrace.MemberPage
	}

	// Done answers a command that has nothing else to say.
	Done struct{}

	// Failed refuses a command, or says what was wrong with a frame that could not be read.
	Failed struct{ Err *millrace.Error }

	// Goaway tells the peer that the gateway ends the session, and after which time of its own to come back.
	Goaway struct{ Err *millrace.Error }

	// Heartbeat tells a peer that asked for it that the gateway is alive.
	Heartbeat struct{}

	// Pong answers a ping command.
	Pong struct{}

	// WirePong answers the wire's own ping.
	WirePong struct{ Payload []byte }
)

// HasPosition reports whether the frame says where the subscription is: not while it is pending, and in class ephemeral
// and for a pattern never.
func (f Subscribed) HasPosition() bool {
	return !f.Pending && f.Class != millrace.ClassEphemeral && millrace.Pattern(f.Topic).IsTopic()
}

func (Connected) frame()     {}
func (Subscribed) frame()    {}
func (Unsubscribed) frame()  {}
func (Advanced) frame()      {}
func (Published) frame()     {}
func (History) frame()       {}
func (Joined) frame()        {}
func (Left) frame()          {}
func (MemberChanges) frame() {}
func (Presence) frame()      {}
func (Done) frame()          {}
func (Failed) frame()        {}
func (Goaway) frame()        {}
func (Heartbeat) frame()     {}
func (Pong) frame()          {}
func (WirePong) frame()      {}

// Command is what a peer asks of its session, whatever the wire.
type Command interface{ command() }

// The commands.
type (
	// Subscribe adds a topic to the session, or all topics that a pattern covers. It is answered by Subscribed.
	Subscribe struct {
		Topic   string // or a pattern
		Start   millrace.Start
		Filter  *millrace.Filter
		MaxRate float64
		Members bool   // tell the session of the topic's members
		Pattern string // of a topic in a cursor: the pattern that it is held for
		Again   bool   // it comes from a cursor, so the peer may have had events of it

		entry *entry // the membership that comes with it, if any
	}

	// SubscribeAll adds several topics, those of a cursor. Each is answered by a Subscribed of its own.
	SubscribeAll []Subscribe

	// Unsubscribe takes a topic from the session, or a pattern with its topics. A membership ends with it. It is answered by
	// Unsubscribed.
	Unsubscribe struct{ Topic string }

	// Join makes the session a member of a topic, and subscribes it if it is not. It is answered by Joined.
	Join struct {
		Subscribe
		Data []byte // what the member shows of itself: a JSON text, or empty
	}

	// Update changes what the session shows of itself as a member. It is answered by Done.
	Update struct {
		Topic string
		Data  []byte
	}

	// Leave ends a membership. It is answered by Left.
	Leave struct{ Topic string }

	// Broadcast stores an event on the strength of membership in its topic. It is answered by Published.
	Broadcast struct{ Publish millrace.Publish }

	// ReadMembers reads who is in a topic. It is answered by Presence.
	ReadMembers struct {
		Topic string
		Range millrace.MemberRange
	}

	// PublishEvent stores an event. It is answered by Published.
	PublishEvent struct{ Publish millrace.Publish }

	// ReadHistory reads a part of a topic's log. It is answered by History.
	ReadHistory struct {
		Topic string
		Range millrace.Range
	}

	// Ping asks for a Pong.
	Ping struct{}

	// WirePing is the wire's own ping, if it has one. It is answered by WirePong with the same payload.
	WirePing struct{ Payload []byte }
)

func (Subscribe) command()    {}
func (SubscribeAll) command() {}
func (Unsubscribe) command()  {}
func (Join) command()         {}
func (Update) command()       {}
func (Leave) command()        {}
func (Broadcast) command()    {}
func (ReadMembers) command()  {}
func (PublishEvent) command() {}
func (ReadHistory) command()  {}
func (Ping) command()         {}
func (WirePing) command()     {}
