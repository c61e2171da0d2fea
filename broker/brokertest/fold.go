package brokertest

import (
	"bytes"
	"fmt"

	"github.com/millrace-dev/millrace"
)

// Fold is what the events of one lifecycle log add up to, each of which it holds to what there was before. It is not safe
// for concurrent use.
type Fold struct {
	Topic   string
	Members map[string]millrace.Member // by session
	At      millrace.Position          // after the last event

	owed millrace.MemberEventKind // what the next event must be; "" for any
}

// NewFold returns the list of a topic that never had members.
func NewFold(topic string) *Fold { return &Fold{Topic: topic, Members: map[string]millrace.Member{}} }

// Apply takes the next event, and returns what is wrong with it, or nil.
func (f *Fold) Apply(e *millrace.Event) error {
	if !f.At.Precedes(e) {
		return fmt.Errorf("event %s does not follow on %s", e.Position, f.At)
	}
	m, err := millrace.ParseMemberEvent(e)
	if err != nil {
		return err
	}
	before, there := f.Members[m.Member.Session]
	f.merge(e, &m)
	owed := f.owed
	f.owed = ""
	count, subjects := f.Counts()
	switch {
	case m.Count != count || m.Subjects != subjects:
		return fmt.Errorf("%s %q tells of %d members and %d subjects, and there are %d and %d", e.Name, m.Member.Session, m.Count, m.Subjects, count, subjects)
	case owed != "" || m.Kind == millrace.TopicOccupied || m.Kind == millrace.TopicVacated:
		if m.Kind != owed || m.Member.Session != "" {
			return fmt.Errorf("there is %s %q, and %q has to follow", e.Name, m.Member.Session, owed)
		}
		return nil
	case e.Key != m.Member.Session || e.Sender != (millrace.Sender{Session: m.Member.Session, Subject: m.Member.Subject}) || m.Member.Joined.IsZero():
		return fmt.Errorf("%s of %+v is sent by %+v with the key %q", e.Name, m.Member, e.Sender, e.Key)
	case there != (m.Kind != millrace.MemberJoined):
		return fmt.Errorf("%s %q, who was a member: %v", e.Name, m.Member.Session, there)
	case m.Kind == millrace.MemberUpdated && sameMember(before, m.Member):
		return fmt.Errorf("%q is updated, and nothing has changed", m.Member.Session)
	case m.Kind == millrace.MemberLeft && (m.Reason == "" || len(m.Member.Data) > 0):
		return fmt.Errorf("%q left for reason %q with data %q", m.Member.Session, m.Reason, m.Member.Data)
	case f.Topic == millrace.SessionsTopic:
	case m.Kind == millrace.MemberJoined && count == 1:
		f.owed = millrace.TopicOccupied
	case m.Kind == millrace.MemberLeft && count == 0:
		f.owed = millrace.TopicVacated
	}
	return nil
}

// merge applies an event to a list that may contain it already.
func (f *Fold) merge(e *millrace.Event, m *millrace.MemberEvent) {
	f.At = e.Position
	switch m.Kind {
	case millrace.MemberJoined, millrace.MemberUpdated:
		f.Members[m.Member.Session] = m.Member
	case millrace.MemberLeft:
		delete(f.Members, m.Member.Session)
	}
}

// Counts returns how many members there are, and how many distinct subjects of them.
func (f *Fold) Counts() (members, subjects int) {
	distinct := map[string]bool{}
	for _, m := range f.Members {
		if m.Subject != "" {
			distinct[m.Subject] = true
		}
	}
	return len(f.Members), len(distinct)
}

// Differs returns what a list of members has that the fold has not, or the other way round, or nil.
func (f *Fold) Differs(members []millrace.Member) error {
	if f.owed != "" {
		return fmt.Errorf("the log ends where %s has to follow", f.owed)
	}
	seen := map[string]bool{}
	for _, m := range members {
		if seen[m.Session] {
			return fmt.Errorf("%q is listed twice", m.Session)
		}
		seen[m.Session] = true
		if told, ok := f.Members[m.Session]; !ok || !sameMember(told, m) {
			return fmt.Errorf("%+v is listed, and told was %+v", m, told)
		}
	}
	if len(seen) != len(f.Members) {
		return fmt.Errorf("%d members are listed, and there are %d", len(seen), len(f.Members))
	}
	return nil
}

func sameMember(a, b millrace.Member) bool {
	return a.Session == b.Session && a.Subject == b.Subject && bytes.Equal(a.Data, b.Data) && a.Joined.Equal(b.Joined)
}
