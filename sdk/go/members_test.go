package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// tokens is an Authenticator whose tokens are subjects that may do everything.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, token string) (*millrace.Grant, error) {
	return &millrace.Grant{Subject: token, Rules: everything.Rules}, nil
}

// shared is a broker that knows its callers, of whom "gateway" is trusted.
func shared(tb testing.TB, config rpc.Config, behind broker.Config) *realBroker {
	tb.Helper()
	config.Authenticator, config.Trusted = tokens{}, []string{"gateway"}
	return startBrokerWith(tb, "127.0.0.1:0", newLog(tb), config, behind)
}

func as(tb testing.TB, b *realBroker, subject string, opts ...sdk.Option) *sdk.Client {
	tb.Helper()
	return dial(tb, b.target, append(opts, sdk.WithToken(sdk.StaticToken(subject)))...)
}

// cutter is a dialer whose connections can be cut.
type cutter struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cutter) option() sdk.Option {
	return sdk.WithDialOptions(grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			c.mu.Lock()
			c.conns = append(c.conns, conn)
			c.mu.Unlock()
		}
		return conn, err
	}))
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close() // it may be closed
	}
	c.conns = nil
}

func gatewayLink(tb testing.TB, c *sdk.Client, opts ...sdk.LinkOption) *sdk.Link {
	tb.Helper()
	l, err := c.Link(append(opts, sdk.AsGateway())...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(l.Close)
	return l
}

func inRoom(kind millrace.MemberChangeKind, session string) millrace.MemberChange {
	return millrace.MemberChange{Kind: kind, Topic: "room", Member: millrace.Member{Session: session}}
}

func mustEnroll(tb testing.TB, l *sdk.Link, changes ...millrace.MemberChange) []millrace.MemberAck {
	tb.Helper()
	acks, err := l.Enroll(tb.Context(), changes)
	if err != nil {
		tb.Fatal(err)
	}
	for _, a := range acks {
		if a.Err != nil {
			tb.Fatal(a.Err)
		}
	}
	return acks
}

// life is the lifecycle of a room as words, from its beginning.
type life struct {
	s *sdk.Subscription
}

func lifecycle(t *testing.T, c *sdk.Client) life {
	t.Helper()
	return life{subscribe(t, c, sdk.TopicsFrom(earliest, millrace.PresenceTopic("room")))}
}

func (l life) next(t *testing.T, n int) []string {
	t.Helper()
	var words []string
	for e, err := range l.s.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		m, err := millrace.ParseMemberEvent(e)
		if err != nil {
			t.Fatal(err)
		}
		words = append(words, strings.Join(strings.Fields(fmt.Sprintf("%s %s%s %s", m.Kind, m.Member.Session, m.Member.Data, m.Reason)), " "))
		if len(words) == n {
			break
		}
	}
	return words
}

func (l life) want(t *testing.T, words ...string) {
	t.Helper()
	if got := l.next(t, len(words)); !slices.Equal(got, words) {
		t.Fatalf("the lifecycle is %q, want %q", got, words)
	}
}

func TestABotJoinsShowsItselfBroadcastsAndLeaves(t *testing.T) {
	b := shared(t, rpc.Config{}, broker.Config{})
	seen := lifecycle(t, as(t, b, "gateway"))
	c := as(t, b, "bot")
	l := open(t, c)
	if _, err := l.Broadcast(t.Context(), &millrace.Event{Topic: "room", Data: []byte("1")}); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonForbidden {
		t.Errorf("a broadcast of who is no member: %v", err)
	}
	if _, err := l.Update(t.Context(), "room", []byte("1")); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonNotFound {
		t.Errorf("an update of who is no member: %v", err)
	}
	ack, err := l.Join(t.Context(), "room", []byte("1"))
	me := l.Session()
	if err != nil || ack.Member.Session != me || ack.Member.Subject != "bot" || ack.Count != 1 || me == "" {
		t.Fatalf("the bot %q joined as %+v, %v", me, ack, err)
	}
	if ack, err := l.Update(t.Context(), "room", []byte("2")); err != nil || string(ack.Member.Data) != "2" {
		t.Errorf("the update is %+v, %v", ack, err)
	}
	if _, err := l.Update(t.Context(), "room", []byte("{")); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonEventInvalid {
		t.Errorf("an update that is no JSON: %v", err)
	}
	if ack, err := l.Broadcast(t.Context(), &millrace.Event{Topic: "room", Data: []byte("3")}); err != nil || ack.Position.Offset != 1 {
		t.Errorf("the broadcast is acked %+v, %v", ack, err)
	}
	for e, err := range subscribe(t, c, sdk.TopicsFrom(earliest, "room")).All(t.Context()) {
		if err != nil || e.Sender != (millrace.Sender{Session: me, Subject: "bot"}) {
			t.Errorf("broadcast was %+v, %v", e, err)
		}
		break
	}
	for range 2 {
		if err := l.Leave(t.Context(), "room"); err != nil {
			t.Error(err)
		}
	}
	if _, err := l.Join(t.Context(), "room", nil); err != nil {
		t.Fatal(err)
	}
	l.Close()
	seen.want(t, "joined "+me+"1", "occupied", "updated "+me+"2", "left "+me+" asked", "vacated", "joined "+me, "occupied", "left "+me+" closed", "vacated")
	if _, err := l.Join(t.Context(), "room", nil); !errors.Is(err, sdk.ErrClosed) {
		t.Errorf("a closed link joins: %v", err)
	}
}

func TestMembersOutliveWhatCutsTheirLinkOffAndNobodyIsTold(t *testing.T) {
	b := shared(t, rpc.Config{}, broker.Config{})
	seen := lifecycle(t, as(t, b, "gateway"))
	var knife cutter
	bot := open(t, as(t, b, "bot", knife.option()))
	gateway := gatewayLink(t, as(t, b, "gateway", knife.option()))
	if _, err := bot.Join(t.Context(), "room", nil); err != nil {
		t.Fatal(err)
	}
	me := bot.Session()
	mustEnroll(t, gateway, inRoom(millrace.MemberJoin, "s1"))
	mustEnroll(t, gateway, inRoom(millrace.MemberJoin, "s2"))
	for i := range 5 {
		knife.cut()
		data := []byte(fmt.Sprint(i))
		update := inRoom(millrace.MemberUpdate, "s1")
		update.Member.Data = data
		mustEnroll(t, gateway, update)
		if ack, err := bot.Broadcast(t.Context(), &millrace.Event{Topic: "room", Data: data}); err != nil || ack.Position.Offset != uint64(i+1) {
			t.Fatalf("broadcast %d: %+v, %v", i, ack, err)
		}
	}
	if bot.Session() != me {
		t.Errorf("the bot was %s and is %s", me, bot.Session())
	}
	seen.want(t, "joined "+me, "occupied", "joined s1", "joined s2", "updated s10", "updated s11", "updated s12", "updated s13", "updated s14")
}

func TestABrokerThatLostItsMemoryIsToldAllMembersAnew(t *testing.T) {
	b := startBroker(t, "127.0.0.1:0", newLog(t), rpc.Config{})
	bot := open(t, dial(t, b.target))
	gateway := gatewayLink(t, dial(t, b.target))
	watch, err := dial(t, b.target).WatchMembers(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	joined, err := bot.Join(t.Context(), "room", []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	var changes []millrace.MemberChange
	for i := range 1000 {
		changes = append(changes, inRoom(millrace.MemberJoin, fmt.Sprint("s", i)))
	}
	for _, a := range mustEnroll(t, gateway, changes...) {
		if a.Count == 0 {
			t.Fatalf("a join is acked %+v", a)
		}
	}
	until(t, watch, 1001)
	b.kill()
	mustEnroll(t, gateway, inRoom(millrace.MemberLeave, "s0")) // while there is no broker
	startBroker(t, b.target, newLog(t), rpc.Config{})
	until(t, watch, 1000)
	if m, ok := watch.Get(bot.Session()); !ok || string(m.Data) != "1" || !m.Joined.Equal(joined.Member.Joined) {
		t.Errorf("the bot is %+v, and was %+v", m, joined.Member)
	}
}

// until follows a list until it has so many members.
func until(t *testing.T, w *sdk.MemberWatch, n int) {
	t.Helper()
	for {
		if _, err := w.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, _ := w.Counts(); got == n {
			return
		}
	}
}

func TestTheMembersOfAGatewayThatIsGoneLeaveEachOnceAndThoseTakenOverDoNot(t *testing.T) {
	b := shared(t, rpc.Config{}, broker.Config{LeaseTerm: 2 * time.Second})
	seen := lifecycle(t, as(t, b, "gateway"))
	gone, stays := gatewayLink(t, as(t, b, "gateway")), gatewayLink(t, as(t, b, "gateway"))
	mustEnroll(t, gone, inRoom(millrace.MemberJoin, "s1"))
	mustEnroll(t, gone, inRoom(millrace.MemberJoin, "s2"))
	gone.Close()
	resume := inRoom(millrace.MemberResume, "s1")
	resume.Generation = 1
	if a := mustEnroll(t, stays, resume)[0]; a.Count != 2 {
		t.Errorf("the member is taken over as %+v", a)
	}
	seen.want(t, "joined s1", "occupied", "joined s2", "left s2 lease")
	mustEnroll(t, stays, inRoom(millrace.MemberLeave, "s2")) // done already
	leave := inRoom(millrace.MemberLeave, "s1")
	leave.Generation = 1
	mustEnroll(t, stays, leave)
	seen.want(t, "left s1 asked", "vacated")
}

func TestAMemberThatWentOnElsewhereIsNotToldAnewByTheGatewayThatHadIt(t *testing.T) {
	b := shared(t, rpc.Config{}, broker.Config{})
	var knife cutter
	first, second := gatewayLink(t, as(t, b, "gateway", knife.option())), gatewayLink(t, as(t, b, "gateway"))
	mustEnroll(t, first, inRoom(millrace.MemberJoin, "s1"))
	resume := inRoom(millrace.MemberResume, "s1")
	resume.Generation = 1
	mustEnroll(t, second, resume)
	knife.cut()
	mustEnroll(t, first, inRoom(millrace.MemberJoin, "s2"))
	leave := inRoom(millrace.MemberLeave, "s1")
	leave.Generation = 1
	if a := mustEnroll(t, second, leave)[0]; a.Count != 1 {
		t.Errorf("the leave is acked %+v", a)
	}
	knife.cut()
	if a := mustEnroll(t, first, inRoom(millrace.MemberJoin, "s3"))[0]; a.Count != 2 {
		t.Errorf("the join is acked %+v", a)
	}
}

func TestAJoinThatNobodyAnswersInTimeIsWithdrawn(t *testing.T) {
	log := newLog(t)
	b := startBroker(t, "127.0.0.1:0", log, rpc.Config{})
	l := gatewayLink(t, dial(t, b.target))
	mustEnroll(t, l, inRoom(millrace.MemberJoin, "s0"))
	b.kill()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if acks, err := l.Enroll(ctx, []millrace.MemberChange{inRoom(millrace.MemberJoin, "s1"), inRoom(millrace.MemberUpdate, "s0")}); millrace.AsError(err) == nil || millrace.AsError(err).Reason != millrace.ReasonDeadline {
		t.Errorf("without a broker the join is answered %+v, %v", acks, err)
	}
	bad := inRoom(millrace.MemberJoin, "s\xff")
	if acks, err := l.Enroll(t.Context(), []millrace.MemberChange{bad, inRoom(millrace.MemberLeave, "s9")}); err != nil || acks[0].Err == nil || acks[1].Err != nil {
		t.Errorf("what can't be sent is answered %+v, %v", acks, err)
	}
	startBroker(t, b.target, log, rpc.Config{})
	if a := mustEnroll(t, l, inRoom(millrace.MemberJoin, "s2"))[0]; a.Count != 2 {
		t.Errorf("the join is acked %+v", a)
	}
	page, err := l.Members(t.Context(), "room", millrace.MemberRange{})
	if err != nil || page.Count != 2 || slices.ContainsFunc(page.Members, func(m millrace.Member) bool { return m.Session == "s1" }) {
		t.Errorf("members are %+v, %v", page, err)
	}
}

// TestALinkWhoseStreamsAgeKeepsItsMembers changes members all the time, while one stream takes the other's place: each change
// is answered as what it is, and nobody ever leaves who was not asked to.
func TestALinkWhoseStreamsAgeKeepsItsMembers(t *testing.T) {
	b := shared(t, rpc.Config{StreamAge: 20 * time.Millisecond, StreamGrace: time.Second / 2}, broker.Config{})
	seen := lifecycle(t, as(t, b, "gateway"))
	l := gatewayLink(t, as(t, b, "gateway"))
	mustEnroll(t, l, inRoom(millrace.MemberJoin, "still"))
	const sessions, rounds = 4, 200
	var work sync.WaitGroup
	for i := range sessions {
		work.Go(func() {
			s := fmt.Sprint("s", i)
			mustEnroll(t, l, inRoom(millrace.MemberJoin, s))
			for n := range rounds {
				update := inRoom(millrace.MemberUpdate, s)
				update.Member.Data = []byte(fmt.Sprint(n))
				mustEnroll(t, l, update)
			}
		})
	}
	work.Wait()
	for _, word := range seen.next(t, 2+sessions+sessions*rounds) {
		if !strings.HasPrefix(word, "joined") && !strings.HasPrefix(word, "updated") && word != "occupied" {
			t.Errorf("the lifecycle has %q", word)
		}
	}
}

func TestTheMembersOfATopicAreReadWholeAndWatched(t *testing.T) {
	b := shared(t, rpc.Config{}, broker.Config{ListedMembers: 10})
	l := gatewayLink(t, as(t, b, "gateway"))
	c := as(t, b, "backend")
	w, err := c.WatchMembers(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if change, err := w.Next(t.Context()); err != nil || len(change.Joined) > 0 {
		t.Errorf("the first change is %+v, %v", change, err)
	}
	for i := range 95 {
		join := inRoom(millrace.MemberJoin, fmt.Sprint("s", i))
		join.Member.Subject = fmt.Sprint("u", i%5)
		mustEnroll(t, l, join)
	}
	seen := map[string]bool{}
	for m, err := range c.Members(t.Context(), "room") {
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Session] = true
	}
	members, subjects, err := c.MemberCounts(t.Context(), "room")
	if len(seen) != 95 || members != 95 || subjects != 5 || err != nil {
		t.Errorf("read were %d members; the counts are %d of %d, %v", len(seen), members, subjects, err)
	}
	until(t, w, 95)
	mustEnroll(t, l, inRoom(millrace.MemberLeave, "s7"))
	if change, err := w.Next(t.Context()); err != nil || len(change.Left) != 1 || change.Left[0].Session != "s7" || len(change.Joined)+len(change.Updated) > 0 {
		t.Errorf("the change is %+v, %v", change, err)
	}
	for m, err := range c.Members(t.Context(), "a b") {
		if err == nil || millrace.AsError(err).Reason != millrace.ReasonTopicInvalid {
			t.Errorf("%v, %v", m, err)
		}
	}
	if _, err := c.WatchMembers(t.Context(), "a b"); millrace.AsError(err) == nil {
		t.Error("what is no topic can be watched")
	}
	closed, err := c.WatchMembers(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	closed.Close()
}

// TestAWatchThatHasAHoleReadsTheListAnewAndTellsTheDifference has a lifecycle log that is trimmed before it is followed.
func TestAWatchThatHasAHoleReadsTheListAnewAndTellsTheDifference(t *testing.T) {
	log := newLog(t, broker.Rule{Pattern: "$presence:**", MaxEvents: 3}, broker.Rule{Pattern: "**"})
	b := startBroker(t, "127.0.0.1:0", log, rpc.Config{})
	l := gatewayLink(t, dial(t, b.target))
	mustEnroll(t, l, inRoom(millrace.MemberJoin, "s0"), inRoom(millrace.MemberJoin, "s1"))
	var knife cutter
	w, err := dial(t, b.target, knife.option()).WatchMembers(t.Context(), "room")
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	until(t, w, 2)
	knife.cut()
	var changes []millrace.MemberChange
	for i := range 50 {
		changes = append(changes, inRoom(millrace.MemberJoin, fmt.Sprint("t", i)))
	}
	mustEnroll(t, l, append(changes, inRoom(millrace.MemberLeave, "s0"))...)
	until(t, w, 51)
	for i := range 50 {
		if _, ok := w.Get(fmt.Sprint("t", i)); !ok {
			t.Errorf("t%d is not in the list", i)
		}
	}
}

// TestAStreamThatIsNotReadFromHoldsNoMoreThanTheMembers has a broker that takes nothing, and sessions that come and go all the time.
func TestAStreamThatIsNotReadFromHoldsNoMoreThanTheMembers(t *testing.T) {
	f, ends := links(t, always)
	l := gatewayLink(t, f.start(t))
	end := <-ends
	<-end.settled
	if end.hello.GetPeer() == "" {
		t.Error("the link has no name")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10_000 { // each is given up at once
		if _, err := l.Enroll(ctx, []millrace.MemberChange{inRoom(millrace.MemberJoin, "s")}); millrace.AsError(err).Reason != millrace.ReasonCanceled {
			t.Fatal(err)
		}
	}
	if n := l.Seats(); n > 1 {
		t.Errorf("%d seats are kept for one session", n)
	}
	first := <-end.commands
	if first.GetJoin() == nil || first.GetId() == 0 {
		t.Fatalf("the link said %v", first)
	}
	if n := len(end.commands); n > 0 {
		t.Errorf("%d commands of one session are under way at a time", n+1)
	}
	end.say(&millracev1.Update{Kind: &millracev1.Update_Reply{Reply: &millracev1.Reply{Id: first.GetId(), Outcome: &millracev1.Reply_Member{Member: wire.MemberAck(millrace.MemberAck{Count: 1})}}}})
	if next := <-end.commands; next.GetLeave() == nil {
		t.Errorf("the link said %v", next)
	}
}
