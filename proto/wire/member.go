package wire

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Member makes the message of a member.
func Member(m millrace.Member) *millracev1.Member {
	return &millracev1.Member{Session: m.Session, Subject: m.Subject, Data: m.Data, JoinedMs: unixMillis(m.Joined)}
}

// ParseMember reads a message of a member.
func ParseMember(m *millracev1.Member) millrace.Member {
	return millrace.Member{Session: m.GetSession(), Subject: m.GetSubject(), Data: m.GetData(), Joined: moment(m.GetJoinedMs())}
}

// Members makes the messages of members.
func Members(list []millrace.Member) []*millracev1.Member {
	messages := make([]*millracev1.Member, 0, len(list))
	for _, m := range list {
		messages = append(messages, Member(m))
	}
	return messages
}

// ParseMembers reads messages of members.
func ParseMembers(list []*millracev1.Member) []millrace.Member {
	members := make([]millrace.Member, 0, len(list))
	for _, m := range list {
		members = append(members, ParseMember(m))
	}
	return members
}

// MemberCommand makes the command of a change, with an id for the reply.
func MemberCommand(id uint32, c millrace.MemberChange) *millracev1.Command {
	m := &millracev1.Membership{
		Topic: c.Topic, Member: Member(c.Member), Generation: c.Generation, Resume: c.Kind == millrace.MemberResume, Reason: c.Reason,
	}
	command := &millracev1.Command{Id: id}
	switch c.Kind {
	case millrace.MemberJoin, millrace.MemberResume:
		command.Kind = &millracev1.Command_Join{Join: m}
	case millrace.MemberUpdate:
		command.Kind = &millracev1.Command_Update{Update: m}
	case millrace.MemberLeave:
		command.Kind = &millracev1.Command_Leave{Leave: m}
	}
	return command
}

// ParseMemberCommand reads a command, if it is one about a membership.
func ParseMemberCommand(command *millracev1.Command) (millrace.MemberChange, bool) {
	var m *millracev1.Membership
	var kind millrace.MemberChangeKind
	switch k := command.GetKind().(type) {
	case *millracev1.Command_Join:
		m, kind = k.Join, millrace.MemberJoin
		if m.GetResume() {
			kind = millrace.MemberResume
		}
	case *millracev1.Command_Update:
		m, kind = k.Update, millrace.MemberUpdate
	case *millracev1.Command_Leave:
		m, kind = k.Leave, millrace.MemberLeave
	default:
		return millrace.MemberChange{}, false
	}
	return millrace.MemberChange{
		Kind: kind, Topic: m.GetTopic(), Member: ParseMember(m.GetMember()), Generation: m.GetGeneration(), Reason: m.GetReason(),
	}, true
}

// MemberAck makes the message of an ack without an error.
func MemberAck(a millrace.MemberAck) *millracev1.MemberAck {
	return &millracev1.MemberAck{Member: Member(a.Member), Count: bound(a.Count), Subjects: bound(a.Subjects)}
}

// ParseMemberAck reads a message of an ack.
func ParseMemberAck(m *millracev1.MemberAck) millrace.MemberAck {
	return millrace.MemberAck{Member: ParseMember(m.GetMember()), Count: int(m.GetCount()), Subjects: int(m.GetSubjects())}
}

// PresenceRequest makes the request of a range.
func PresenceRequest(topic string, r millrace.MemberRange) *millracev1.PresenceRequest {
	return &millracev1.PresenceRequest{Topic: topic, CountOnly: r.Limit < 0, Limit: bound(max(r.Limit, 0)), Page: r.Page}
}

// ParsePresenceRequest reads the range of a request.
func ParsePresenceRequest(m *millracev1.PresenceRequest) millrace.MemberRange {
	r := millrace.MemberRange{Limit: int(min(m.GetLimit(), maxMembersAsked)), Page: m.GetPage()}
	if m.GetCountOnly() {
		r.Limit = -1
	}
	return r
}

// maxMembersAsked keeps a limit to what can be counted; the broker has a lower one.
const maxMembersAsked = 1 << 30

// MemberPage makes the message of a page.
func MemberPage(p millrace.MemberPage) *millracev1.PresenceResponse {
	return &millracev1.PresenceResponse{
		Members: Members(p.Members), Count: bound(p.Count), Subjects: bound(p.Subjects), NextPage: p.Next, AsOf: Position(p.AsOf),
	}
}

// ParseMemberPage reads the message of a page.
func ParseMemberPage(m *millracev1.PresenceResponse) millrace.MemberPage {
	return millrace.MemberPage{
		Members: ParseMembers(m.GetMembers()), Count: int(m.GetCount()), Subjects: int(m.GetSubjects()), Next: m.GetNextPage(),
		AsOf: ParsePosition(m.GetAsOf()),
	}
}
