package millrace

import (
	"time"
)

// SessionsTopic is the reserved topic whose members are all live sessions of all gateways. It is its own lifecycle log.
const SessionsTopic = "$sessions"

const (
	presencePrefix = "$presence:"
	personalPrefix = "user:"
)

// PresenceTopic returns the reserved topic that is the lifecycle log of another: who came, changed and went, each as an
// event (see MemberEvent). The list of members is what these events add up to.
func PresenceTopic(topic string) string {
	if topic == SessionsTopic {
		return SessionsTopic
	}
	return presencePrefix + topic
}

// PersonalTopic returns the topic on which one subject is reached, whatever its sessions are, and whether there is one: a
// subject that is empty, or would be several segments or none of a topic, has none.
func PersonalTopic(subject string) (string, bool) {
	topic := personalPrefix + subject
	if subject == "" || Reserved(subject) || !Pattern(personalPrefix+"*").Matches(topic) || ValidateTopic(topic) != nil {
		return "", false
	}
	return topic, true
}

// Member is a session that joined a topic. It is immutable.
type Member struct {
	Session string
	Subject string    // empty for an anonymous one
	Data    []byte    // what the member shows of itself: a JSON text, or empty
	Joined  time.Time // to the millisecond
}

// MemberChangeKind says what a MemberChange asks for.
type MemberChangeKind uint8

// The kinds of change.
const (
	// MemberJoin makes a session a member, or tells anew that it is one. A member that another holder told goes over to this
	// one without leaving; other data is an update.
	MemberJoin MemberChangeKind = iota + 1

	// MemberResume takes a member over as it is, with its data. It is refused with ReasonNotFound if the session is none.
	MemberResume

	// MemberUpdate changes what a member shows of itself. It is refused with ReasonNotFound if the session is none.
	MemberUpdate

	// MemberLeave ends a membership. If the session is none, or went over to another holder, it is done already.
	MemberLeave
)

// MemberChange is what the holder of a session asks of its membership in a topic.
type MemberChange struct {
	Kind  MemberChangeKind
	Topic string

	// Member has the session, in a join its subject, and in a join and an update the data. Joined is set in a join that tells
	// anew of a member; else it is the roster's to fill.
	Member Member

	// Generation counts how often the session has come back. A change of an older generation than the roster knows is refused
	// with ReasonConflict: the session has gone on elsewhere.
	Generation uint32

	Reason string // in a leave: why, for the lifecycle log
}

// MemberAck answers one MemberChange.
type MemberAck struct {
	Member   Member // as it is now; in a leave as it was
	Count    int    // members after the change
	Subjects int    // distinct subjects of them; anonymous members have none
	Err      *Error // it was not done, and why; nil on success
}

// MemberRange says which members of a topic to read.
type MemberRange struct {
	Page  string // go on from MemberPage.Next; "" is the beginning
	Limit int    // at most so many; 0 leaves it to the broker. Negative: only the counts
}

// MemberPage is a part of a topic's members.
//
// Pages are not of one moment, yet they add up: who takes all of them and then applies the events of the lifecycle log after
// the AsOf of the first has the list.
type MemberPage struct {
	Members  []Member // in no promised order
	Next     string   // where to go on; empty at the end
	Count    int      // members in all
	Subjects int      // distinct subjects of them
	AsOf     Position // in the lifecycle log: at least so much of it is contained in the page
}
