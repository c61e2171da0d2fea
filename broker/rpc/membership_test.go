package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// term is a lease that a test waits for. It is as long as it must be for a busy machine to renew it in time.
const term = 2 * time.Second

// members are the bounds of a broker whose leases are short.
var members = bounds{broker: broker.Config{LeaseTerm: term}}

// of makes the command of a change, which is answered under an id.
func of(id uint32, kind millrace.MemberChangeKind, topic, session string) *millracev1.Command {
	return wire.MemberCommand(id, millrace.MemberChange{Kind: kind, Topic: topic, Member: millrace.Member{Session: session}})
}

var settled = &millracev1.Command{Kind: &millracev1.Command_RosterSent{RosterSent: &millracev1.RosterSent{}}}

func broadcast(id uint32, e *millracev1.NewEvent) *millracev1.Command {
	return &millracev1.Command{Id: id, Kind: &millracev1.Command_Broadcast{Broadcast: e}}
}

// gateway opens the link of a gateway with a name.
func (f *front) gateway(name string) *peer {
	f.Helper()
	return f.greet(f.client(), &millracev1.Hello{Peer: name, Gateway: true})
}

// as opens the link of a token's bearer, with a name of the peer or none.
func (f *front) as(token, name string) *peer {
	f.Helper()
	before := f.ctx
	f.ctx = metadata.NewOutgoingContext(before, metadata.Pairs("authorization", "Bearer "+token))
	defer func() { f.ctx = before }()
	return f.greet(f.client(), &millracev1.Hello{Peer: name})
}

// acked waits for the answer to a change and checks the members that there are then.
func (p *peer) acked(id uint32, count int) *millracev1.MemberAck {
	p.Helper()
	r := p.reply(id)
	if r.GetMember() == nil || r.GetMember().GetCount() != uint32(count) {
		p.Fatalf("got %v, want %d members", r, count)
	}
	return r.GetMember()
}

// denied waits for the answer to a command that was not done.
func (p *peer) denied(id uint32, want millrace.Reason) {
	p.Helper()
	if r := p.reply(id); r.GetError().GetReason() != string(want) {
		p.Errorf("got %v, want %s", r, want)
	}
}

// history is the lifecycle of a topic as words.
type history struct {
	*tap

	pos millrace.Position
}

// watch follows the lifecycle of a topic from its beginning.
func (f *front) watch(topic string) *history {
	f.Helper()
	log := millrace.PresenceTopic(topic)
	r := &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: log, Start: wire.Start(millrace.Start{Kind: millrace.StartEarliest})}}}
	s := f.subscribe(f.client(), r)
	return &history{tap: s, pos: s.attached(1, log)}
}

// tells checks what happened next, in order.
func (h *history) tells(want ...string) {
	h.Helper()
	if got := h.take(len(want)); !slices.Equal(got, want) {
		h.Fatalf("the lifecycle log tells %q, want %q", got, want)
	}
}

func (h *history) take(n int) []string {
	h.Helper()
	var words []string
	for _, e := range h.events(1, h.pos, n) {
		m, err := millrace.ParseMemberEvent(e)
		if err != nil {
			h.Fatal(err)
		}
		word := string(m.Kind)
		if m.Member.Session != "" {
			word += " " + m.Member.Session
		}
		if m.Reason != "" {
			word += " " + m.Reason
		}
		words = append(words, word)
		h.pos = e.Position
	}
	return words
}

func (f *front) presence(topic string) []string {
	f.Helper()
	page, err := f.broker.Members(f.ctx, topic, millrace.MemberRange{})
	if err != nil {
		f.Fatal(err)
	}
	var sessions []string
	for _, m := range page.Members {
		sessions = append(sessions, m.Session)
	}
	slices.Sort(sessions)
	return sessions
}

func TestAGatewayTellsOfItsMembersAndIsAnsweredInOrder(t *testing.T) {
	f := serve(t, rpc.Config{})
	w := f.watch("room")
	g := f.gateway("g")
	join := millrace.MemberChange{Kind: millrace.MemberJoin, Topic: "room", Member: millrace.Member{Session: "s1", Subject: "ann", Data: []byte(`{"n":1}`)}}
	update := join
	update.Kind, update.Member.Data = millrace.MemberUpdate, []byte(`{"n":2}`)
	g.send(wire.MemberCommand(1, join), of(2, millrace.MemberJoin, "room", "s2"), of(3, millrace.MemberResume, "room", "s3"),
		wire.MemberCommand(4, update), of(5, millrace.MemberLeave, "room", "s2"), of(6, millrace.MemberJoin, "a b", "s1"))
	m := wire.ParseMemberAck(g.acked(1, 1)).Member
	if m.Session != "s1" || m.Subject != "ann" || string(m.Data) != `{"n":1}` || m.Joined.IsZero() {
		t.Errorf("the member is acked as %+v", m)
	}
	g.acked(2, 2)
	g.denied(3, millrace.ReasonNotFound)
	if got := wire.ParseMemberAck(g.acked(4, 2)); string(got.Member.Data) != `{"n":2}` || !got.Member.Joined.Equal(m.Joined) || got.Subjects != 1 {
		t.Errorf("the update is acked as %+v", got)
	}
	g.acked(5, 1)
	g.denied(6, millrace.ReasonTopicInvalid)
	w.tells("joined s1", "occupied", "joined s2", "updated s1", "left s2 asked")
}

func TestASessionIsTheLinksOwnOverItsReconnects(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"ann": everything("ann"), "bob": everything("bob"), "gw": everything("gw")}, Trusted: []string{"gw"}}, members)
	seen := map[string]string{}
	for _, c := range []struct{ token, peer string }{{"ann", "p"}, {"ann", "q"}, {"bob", "p"}, {"ann", ""}, {"ann", ""}, {"gw", "p"}} {
		l := f.as(c.token, c.peer)
		if was, ok := seen[l.session]; ok {
			t.Errorf("%v has the session of %s", c, was)
		}
		seen[l.session] = fmt.Sprint(c)
		if again := f.as(c.token, c.peer); (again.session == l.session) != (c.peer != "") {
			t.Errorf("%v has session %s and then %s", c, l.session, again.session)
		}
	}
}

func TestWhoIsNoGatewaySpeaksForItsOwnSessionAlone(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"bot": {Subject: "bot", Rules: []millrace.Rule{
		{Pattern: "room", Actions: millrace.ActionJoin}, {Pattern: "$sessions", Actions: millrace.ActionAll},
	}}, "gw": everything("gw")}, Trusted: []string{"gw"}}, members)
	f.ctx = bearer(f.ctx, "gw")
	g := f.gateway("g")
	g.send(of(1, millrace.MemberJoin, "room", "s1"))
	g.acked(1, 1)
	b := f.as("bot", "p")
	lie := millrace.MemberChange{Kind: millrace.MemberJoin, Topic: "room", Generation: 7, Member: millrace.Member{Session: b.session, Subject: "king"}}
	b.send(
		of(1, millrace.MemberJoin, "room", "s1"), of(2, millrace.MemberResume, "room", "s1"), of(3, millrace.MemberUpdate, "room", "s1"),
		of(4, millrace.MemberLeave, "room", "s1"), of(5, millrace.MemberJoin, "$sessions", ""), of(6, millrace.MemberJoin, "hall", ""),
		of(7, millrace.MemberJoin, "$presence:room", ""), wire.MemberCommand(8, lie), of(9, millrace.MemberUpdate, "room", ""),
		of(10, millrace.MemberLeave, "hall", ""),
	)
	for id := uint32(1); id <= 7; id++ {
		b.denied(id, millrace.ReasonForbidden)
	}
	if m := b.acked(8, 2).GetMember(); m.GetSubject() != "bot" || m.GetSession() != b.session {
		t.Errorf("the bot is a member as %v", m)
	}
	b.acked(9, 2) // of generation 0, as the join was
	b.acked(10, 0)
	why := of(11, millrace.MemberLeave, "room", "")
	why.GetLeave().Reason = "lease"
	b.send(why)
	b.acked(11, 1)
	w := f.watch("room")
	w.tells("joined s1", "occupied", "joined "+b.session, "left "+b.session+" asked")
}

// Promise: docs/delivery.md 9.8.
func TestAMemberMayBroadcastAndWhoIsNoneMayNot(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{
		"bot": {Subject: "bot", Rules: []millrace.Rule{{Pattern: "room", Actions: millrace.ActionJoin}}}, "gw": everything("gw"),
	}, Trusted: []string{"gw"}}, members)
	event := func(sender *millracev1.Sender) *millracev1.NewEvent {
		return &millracev1.NewEvent{Topic: "room", Data: []byte("1"), Sender: sender}
	}
	b := f.as("bot", "p")
	b.send(broadcast(1, event(nil)))
	b.notStored(1)
	b.send(of(2, millrace.MemberJoin, "room", ""))
	b.acked(2, 1)
	b.send(broadcast(3, event(nil)), broadcast(4, event(&millracev1.Sender{Session: "s1"})), publish(5, event(nil)))
	if ack := b.reply(3).GetAck(); ack.GetError() != nil || ack.GetPosition().GetOffset() != 1 {
		t.Errorf("the broadcast is answered %v", ack)
	}
	b.notStored(4)
	b.notStored(5)
	page, err := f.broker.History(f.ctx, "room", millrace.Range{Start: millrace.Start{Kind: millrace.StartEarliest}})
	if err != nil || len(page.Events) != 1 || page.Events[0].Sender != (millrace.Sender{Session: b.session, Subject: "bot"}) {
		t.Errorf("stored is %+v, %v", page.Events, err)
	}
	b.send(of(6, millrace.MemberLeave, "room", ""))
	b.acked(6, 0)
	b.send(broadcast(7, event(nil)))
	b.notStored(7)

	f.ctx = bearer(f.ctx, "gw")
	g := f.gateway("g")
	g.send(broadcast(1, event(&millracev1.Sender{Session: "s1", Subject: "ann"})))
	if ack := g.reply(1).GetAck(); ack.GetError() != nil || ack.GetPosition().GetOffset() != 2 {
		t.Errorf("a gateway's broadcast is answered %v", ack)
	}
}

// notStored waits for the ack of an event that was forbidden.
func (p *peer) notStored(id uint32) {
	p.Helper()
	if ack := p.reply(id).GetAck(); ack.GetError().GetReason() != string(millrace.ReasonForbidden) {
		p.Errorf("got %v, want forbidden", ack)
	}
}

func TestTheMembersOfALinkThatWasKilledLeaveWhenTheirLeaseRunsOutEachOnce(t *testing.T) {
	f := serve(t, rpc.Config{}, members)
	w := f.watch("room")
	g, other := f.gateway("g"), f.gateway("other")
	other.send(of(1, millrace.MemberJoin, "room", "s0"))
	other.acked(1, 1)
	g.send(of(1, millrace.MemberJoin, "room", "s1"), of(2, millrace.MemberJoin, "room", "s2"), settled)
	g.acked(1, 2)
	g.acked(2, 3)
	w.tells("joined s0", "occupied", "joined s1", "joined s2")
	g.cancel()
	left := w.take(2)
	slices.Sort(left)
	if want := []string{"left s1 lease", "left s2 lease"}; !slices.Equal(left, want) {
		t.Errorf("%q, want %q", left, want)
	}
	other.send(of(2, millrace.MemberLeave, "room", "s0"))
	other.acked(2, 0) // held by a link that stands, for longer than a lease
	w.tells("left s0 asked", "vacated")
}

func TestAPeerThatComesBackInTimeHasOnlyLostWhomItDoesNotTell(t *testing.T) {
	f := serve(t, rpc.Config{})
	w := f.watch("room")
	g := f.gateway("g")
	g.send(of(1, millrace.MemberJoin, "room", "s1"), of(2, millrace.MemberJoin, "room", "s2"), of(3, millrace.MemberJoin, "room", "s3"), settled)
	for i := range 3 {
		g.acked(uint32(i+1), i+1)
	}
	g.cancel()
	g = f.gateway("g")
	g.send(of(1, millrace.MemberJoin, "room", "s3"), of(2, millrace.MemberJoin, "room", "s1"), settled, of(3, millrace.MemberJoin, "room", "s4"))
	g.acked(1, 3)
	g.acked(2, 3)
	g.acked(3, 3) // s2 has left before
	w.tells("joined s1", "occupied", "joined s2", "joined s3", "left s2 lost", "joined s4")
	if got := f.presence("room"); !slices.Equal(got, []string{"s1", "s3", "s4"}) {
		t.Errorf("members are %q", got)
	}
}

func TestANewLinkOfAPeerEndsTheOneBefore(t *testing.T) {
	f := serve(t, rpc.Config{})
	old := f.gateway("g")
	old.send(of(1, millrace.MemberJoin, "room", "s1"))
	old.acked(1, 1)
	now := f.gateway("g")
	refused(t, old.end(), millrace.ReasonUnavailable)
	now.send(of(1, millrace.MemberResume, "room", "s1"))
	now.acked(1, 1)

	// Others that name themselves alike are not the gateway's peer.
	bot := f.greet(f.client(), &millracev1.Hello{Peer: "g"})
	bot.send(of(1, millrace.MemberJoin, "room", ""))
	bot.acked(1, 2)
	now.send(of(2, millrace.MemberLeave, "room", "s1"))
	now.acked(2, 1)
}

func TestTwoGatewaysAreTheSameOnlyByNameAndInstance(t *testing.T) {
	f := serve(t, rpc.Config{})
	first := f.greet(f.client(), &millracev1.Hello{Peer: "b:c", Instance: "a", Gateway: true})
	first.send(of(1, millrace.MemberJoin, "room", "s1"))
	first.acked(1, 1)
	for i, h := range []*millracev1.Hello{
		{Peer: "c", Instance: "a:b", Gateway: true}, // joined by a colon both are the same text
		{Peer: "b:c", Instance: "", Gateway: true},
		{Peer: "b:c", Instance: "d", Gateway: true},
	} {
		other := f.greet(f.client(), h)
		other.send(of(1, millrace.MemberJoin, "room", fmt.Sprint("t", i)), settled)
		other.acked(1, 2+i)
	}
	first.send(of(2, millrace.MemberLeave, "room", "s1"))
	first.acked(2, 3)
}

func TestAMemberThatWentOnElsewhereIsNotTakenBack(t *testing.T) {
	f := serve(t, rpc.Config{})
	w := f.watch("room")
	first, second := f.gateway("g"), f.gateway("h")
	resume := millrace.MemberChange{Kind: millrace.MemberResume, Topic: "room", Generation: 1, Member: millrace.Member{Session: "s1"}}
	first.send(of(1, millrace.MemberJoin, "room", "s1"))
	first.acked(1, 1)
	second.send(wire.MemberCommand(1, resume))
	second.acked(1, 1)
	first.send(of(2, millrace.MemberUpdate, "room", "s1"), of(3, millrace.MemberLeave, "room", "s1"), of(4, millrace.MemberJoin, "room", "s1"), of(5, millrace.MemberJoin, "room", "s2"))
	first.denied(2, millrace.ReasonConflict)
	first.acked(3, 1) // it is none of this gateway's, so that is done
	first.denied(4, millrace.ReasonConflict)
	first.acked(5, 2)
	w.tells("joined s1", "occupied", "joined s2")
}

func TestTheMembersOfALinkWithoutANameLeaveWithIt(t *testing.T) {
	f := serve(t, rpc.Config{})
	w := f.watch("room")
	cut, clean := f.join(f.client()), f.join(f.client())
	cut.send(of(1, millrace.MemberJoin, "room", ""), settled)
	cut.acked(1, 1)
	clean.send(of(1, millrace.MemberJoin, "room", ""))
	clean.acked(1, 2)
	w.tells("joined "+cut.session, "occupied", "joined "+clean.session)
	cut.cancel()
	w.tells("left " + cut.session + " lost")
	if err := clean.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := clean.end(); !errors.Is(err, io.EOF) {
		t.Errorf("the link ended with %v", err)
	}
	w.tells("left "+clean.session+" closed", "vacated")
}

func TestAFloodOfChangesIsHeldBackAndAllAreAnswered(t *testing.T) {
	const n = 5000
	f := serve(t, rpc.Config{WindowEvents: 8})
	g := f.gateway("g")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range n {
			c := of(uint32(i+1), millrace.MemberJoin, "room", fmt.Sprint("s", i))
			if err := g.stream.Send(&millracev1.JoinRequest{Commands: []*millracev1.Command{c}}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i := range n {
		g.acked(uint32(i+1), i+1)
	}
	<-sent
}

func TestATokenThatNoLongerAllowsAMembershipEndsIt(t *testing.T) {
	less := &millrace.Grant{Subject: "bot", Rules: []millrace.Rule{{Pattern: "hall", Actions: millrace.ActionAll}}}
	f := serve(t, rpc.Config{Authenticator: grants{"bot": everything("bot"), "less": less, "gw": everything("gw")}, Trusted: []string{"gw"}})
	b := f.as("bot", "p")
	f.ctx = bearer(f.ctx, "gw")
	w := f.watch("room")
	b.send(of(1, millrace.MemberJoin, "room", ""), of(2, millrace.MemberJoin, "hall", ""))
	b.acked(1, 1)
	b.acked(2, 1)
	b.send(&millracev1.Command{Id: 3, Kind: &millracev1.Command_Refresh{Refresh: &millracev1.Refresh{Token: "less"}}})
	b.reply(3)
	w.tells("joined "+b.session, "occupied", "left "+b.session+" forbidden", "vacated")
	if got := f.presence("hall"); !slices.Equal(got, []string{b.session}) {
		t.Errorf("members are %q", got)
	}
}

func TestWhoMaySeeMembersReadsThemAndTheirLog(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{
		"eye": {Subject: "eye", Rules: []millrace.Rule{{Pattern: "room", Actions: millrace.ActionPresence}}}, "gw": everything("gw"),
	}, Trusted: []string{"gw"}})
	gateway, eye := bearer(f.ctx, "gw"), bearer(f.ctx, "eye")
	f.ctx = gateway
	g := f.gateway("g")
	for i := range 5 {
		g.send(of(uint32(i+1), millrace.MemberJoin, "room", fmt.Sprint("s", i)))
		g.acked(uint32(i+1), i+1)
	}
	g.send(of(9, millrace.MemberJoin, millrace.SessionsTopic, "s0"))
	g.acked(9, 1)
	c := f.client()
	var sessions []string
	for r := (&millracev1.PresenceRequest{Topic: "room", Limit: 2}); ; {
		m, err := c.Presence(eye, r)
		if err != nil || m.GetCount() != 5 || m.GetAsOf().GetOffset() != 6 || len(m.GetMembers()) > 2 {
			t.Fatalf("%v, %v", m, err)
		}
		for _, member := range m.GetMembers() {
			sessions = append(sessions, member.GetSession())
		}
		if r.Page = m.GetNextPage(); r.Page == "" {
			break
		}
	}
	slices.Sort(sessions)
	if !slices.Equal(sessions, []string{"s0", "s1", "s2", "s3", "s4"}) {
		t.Errorf("read were %q", sessions)
	}
	if m, err := c.Presence(eye, &millracev1.PresenceRequest{Topic: "room", CountOnly: true}); err != nil || m.GetCount() != 5 || len(m.GetMembers()) > 0 {
		t.Errorf("the counts are %v, %v", m, err)
	}
	for _, test := range []struct {
		who   context.Context
		topic string
		want  millrace.Reason
	}{
		{eye, "hall", millrace.ReasonForbidden},
		{eye, millrace.SessionsTopic, millrace.ReasonForbidden},
		{eye, "a b", millrace.ReasonTopicInvalid},
		{gateway, "$presence:room", millrace.ReasonForbidden},
		{gateway, millrace.SessionsTopic, ""},
	} {
		if _, err := c.Presence(test.who, &millracev1.PresenceRequest{Topic: test.topic}); test.want != "" || err != nil {
			refused(t, err, test.want)
		}
	}
	for topic, want := range map[string]millrace.Reason{"$presence:room": "", "$presence:hall": millrace.ReasonForbidden, "$presence:*": millrace.ReasonForbidden, "$sessions": millrace.ReasonForbidden, "room": millrace.ReasonForbidden} {
		f.ctx = eye
		s := f.subscribe(c, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: topic}}})
		if want == "" {
			s.attached(1, topic)
		} else {
			s.refusedWith(1, want)
		}
		f.ctx = gateway
		f.subscribe(c, &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: topic}}}).attachedTo(topic)
	}
	admin := millracev1.NewAdminServiceClient(f.dial())
	f.publish("room", 1)
	list, err := admin.ListTopics(gateway, &millracev1.ListTopicsRequest{Pattern: "room"})
	if err != nil || len(list.GetTopics()) != 1 || list.GetTopics()[0].GetMembers() != 5 {
		t.Errorf("operators see %v, %v", list, err)
	}
}

// attachedTo checks that what comes first is that a topic or pattern is attached, or a topic of it.
func (s *tap) attachedTo(topic string) {
	s.Helper()
	if u := s.next(); u.GetAttached() == nil {
		s.Errorf("%s: got %v", topic, u)
	}
}

// TestAChangeUnderALeaseThatIsGoneIsNotAnsweredAsOneOfAMember is what keeps a gateway that moves from one link to the next
// from taking the fence for the word that a session has gone on elsewhere.
func TestAChangeUnderALeaseThatIsGoneIsNotAnsweredAsOneOfAMember(t *testing.T) {
	f := serve(t, rpc.Config{})
	for range 100 {
		old, err := f.broker.Hold(f.ctx, "g")
		if err != nil {
			t.Fatal(err)
		}
		now, err := f.broker.Hold(f.ctx, "g")
		if err != nil {
			t.Fatal(err)
		}
		acks, err := old.Enroll(f.ctx, []millrace.MemberChange{{Kind: millrace.MemberJoin, Topic: "room", Member: millrace.Member{Session: "s"}}})
		if err == nil {
			t.Fatalf("answered was %+v", acks)
		}
		<-old.Lost()
		old.Close()
		now.Close()
	}
}

func TestASessionJoinsNoMoreTopicsThanAllowedHoweverManyAtOnce(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"bot": everything("bot"), "gw": everything("gw")}, Trusted: []string{"gw"}, MaxTopics: 2})
	b := f.as("bot", "p")
	b.send(
		of(1, millrace.MemberJoin, "a", ""), of(2, millrace.MemberJoin, "b", ""), of(3, millrace.MemberJoin, "a", ""), of(4, millrace.MemberJoin, "c", ""),
		of(5, millrace.MemberUpdate, "c", ""),
	)
	for id := uint32(1); id <= 3; id++ {
		b.acked(id, 1)
	}
	b.denied(4, millrace.ReasonTooManyTopics)
	b.denied(5, millrace.ReasonNotFound)
	b.send(of(6, millrace.MemberLeave, "a", ""), of(7, millrace.MemberJoin, "c", ""))
	b.acked(6, 0)
	b.acked(7, 1)
}

func TestAGatewaysNewTokenIsThatOfAGateway(t *testing.T) {
	less := &millrace.Grant{Rules: []millrace.Rule{{Pattern: "hall", Actions: millrace.ActionAll}}}
	f := serve(t, rpc.Config{Authenticator: grants{"all": everything(""), "less": less}})
	f.ctx = bearer(f.ctx, "all")
	g := f.gateway("g")
	g.send(&millracev1.Command{Id: 1, Kind: &millracev1.Command_Refresh{Refresh: &millracev1.Refresh{Token: "less"}}})
	g.denied(1, millrace.ReasonForbidden)
	g.send(of(2, millrace.MemberJoin, "room", "s1"))
	g.acked(2, 1)
}
