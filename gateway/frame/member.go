package frame

import (
	"strconv"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// KindMembers is the kind of frame that tells changes of members, which goes to many.
const KindMembers = "members"

// AppendJSONMembers appends the frame of changes of members in JSON. What members show of themselves must be JSON texts, as
// the broker makes sure of.
func AppendJSONMembers(dst []byte, m *gateway.MemberChanges) []byte {
	dst = append(dst, `{"members":`...)
	dst = AppendMembersBody(dst, m)
	return append(dst, '}')
}

// AppendProtobufMembers appends the frame of changes of members in protobuf.
func AppendProtobufMembers(dst []byte, m *gateway.MemberChanges) []byte {
	return appendMessage(dst, &millracev1.ServerFrame{Kind: &millracev1.ServerFrame_Members{Members: &millracev1.MemberChanges{
		Topic:     valid(m.Topic),
		Reset_:    m.Reset,
		Joined:    members(m.Joined),
		Updated:   members(m.Updated),
		Left:      members(m.Left),
		Count:     number(m.Count),
		Subjects:  number(m.Subjects),
		CountOnly: m.CountOnly,
		AsOf:      wire.Position(m.AsOf),
	}}})
}

// AppendMembersBody appends what a frame of changes of members says as a JSON object, without its kind.
func AppendMembersBody(dst []byte, m *gateway.MemberChanges) []byte {
	dst = appendTopic(dst, m.Topic)
	dst = appendTrue(dst, "reset", m.Reset)
	dst = appendMembers(dst, "joined", m.Joined)
	dst = appendMembers(dst, "updated", m.Updated)
	dst = appendMembers(dst, "left", m.Left)
	dst = appendCounts(dst, m.Count, m.Subjects)
	dst = appendTrue(dst, "countOnly", m.CountOnly)
	return append(appendAsOf(dst, m.AsOf), '}')
}

func appendJoined(dst []byte, f gateway.Joined) []byte {
	dst = appendTopic(dst, f.Topic)
	dst = append(dst, `,"member":`...)
	dst = appendMemberBody(dst, &f.Member)
	dst = appendCounts(dst, f.Count, f.Subjects)
	dst = appendMember(dst, "cursor", f.Prefix)
	return append(dst, '}')
}

func appendPresence(dst []byte, f gateway.Presence) []byte {
	p := &f.Page
	dst = appendTopic(dst, f.Topic)
	dst = appendMembers(dst, "members", p.Members)
	dst = appendCounts(dst, p.Count, p.Subjects)
	dst = appendMember(dst, "nextPage", p.Next)
	return append(appendAsOf(dst, p.AsOf), '}')
}

// appendMembers appends a list of members, unless it is empty.
func appendMembers(dst []byte, name string, list []millrace.Member) []byte {
	for i := range list {
		if i == 0 {
			dst = append(appendName(dst, name), '[')
		} else {
			dst = append(dst, ',')
		}
		dst = appendMemberBody(dst, &list[i])
	}
	if len(list) > 0 {
		dst = append(dst, ']')
	}
	return dst
}

func appendMemberBody(dst []byte, m *millrace.Member) []byte {
	dst = appendFirst(append(dst, '{'), "session", m.Session)
	dst = appendMember(dst, "subject", m.Subject)
	if len(m.Data) > 0 {
		dst = append(appendName(dst, "data"), m.Data...)
	}
	return append(appendTime(dst, "joinedMs", m.Joined), '}')
}

// appendCounts appends how many members there are, 0 included: nobody is as good a number as any.
func appendCounts(dst []byte, count, subjects int) []byte {
	dst = strconv.AppendUint(appendName(dst, "count"), uint64(number(count)), 10)
	return strconv.AppendUint(appendName(dst, "subjects"), uint64(number(subjects)), 10)
}

func appendAsOf(dst []byte, p millrace.Position) []byte {
	return appendPosition(appendName(dst, "asOf"), p)
}

// number returns a count as the contract has it.
func number(n int) uint32 { return uint32(min(max(n, 0), 1<<31-1)) }

func member(m millrace.Member) *millracev1.Member {
	return &millracev1.Member{Session: valid(m.Session), Subject: valid(m.Subject), Data: m.Data, JoinedMs: unixMilli(m.Joined)}
}

func members(list []millrace.Member) []*millracev1.Member {
	messages := make([]*millracev1.Member, len(list))
	for i, m := range list {
		messages[i] = member(m)
	}
	return messages
}

func joined(f gateway.Joined) *millracev1.JoinedFrame {
	return &millracev1.JoinedFrame{
		Topic: valid(f.Topic), Member: member(f.Member), Count: number(f.Count), Subjects: number(f.Subjects), Cursor: f.Prefix,
	}
}

func presence(f gateway.Presence) *millracev1.PresencePageFrame {
	p := &f.Page
	return &millracev1.PresencePageFrame{
		Topic: valid(f.Topic), Members: members(p.Members), Count: number(p.Count), Subjects: number(p.Subjects),
		NextPage: p.Next, AsOf: wire.Position(p.AsOf),
	}
}
