package rpc_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestALinkIsToldOfTheTopicsOfAPattern(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	head := f.publish("latest", 2)[1]
	f.publish("chat:a:b", 1)
	l := f.join(f.client())
	b := newBook(&l.tap)
	l.send(subscribe(1, "*", millrace.Start{}), subscribe(2, "typing:*", millrace.Start{}))
	attached := func(alias uint32) bool { return b.entries[alias] != nil && b.entries[alias].attached }
	b.until(func() bool { return attached(1) && attached(2) })
	e := b.entries[1]
	if !e.pattern || e.position || e.topic != "*" || len(e.matched) != 1 ||
		e.matched[0].GetTopic() != "latest" || wire.ParsePosition(e.matched[0].GetPosition()) != head {
		t.Fatalf("of the pattern came %+v", e)
	}
	f.publish("born", 2)
	f.publish("typing:x", 2)
	b.until(func() bool { return len(e.matched) == 2 && len(b.entries[2].matched) == 1 })
	if m := e.matched[1]; m.GetTopic() != "born" || m.GetPosition() == nil || m.GetPosition().GetOffset() != 0 || m.GetPosition().GetMark() != 0 {
		t.Errorf("the topic that was born is told as %v", m)
	}
	if m := b.entries[2].matched[0]; m.GetTopic() != "typing:x" || m.GetPosition() != nil || m.GetClass() != millracev1.DeliveryClass_DELIVERY_CLASS_EPHEMERAL {
		t.Errorf("the ephemeral topic is told as %v", m)
	}
	l.send(unsubscribe(1), &millracev1.Command{Id: 7})
	l.reply(7)
	f.publish("late", 1)
	l.send(&millracev1.Command{Id: 8})
	l.reply(8) // and nothing of the pattern before it
}

func TestAPatternNeedsAGrantThatCoversIt(t *testing.T) {
	chats := &millrace.Grant{Subject: "chats", Rules: []millrace.Rule{
		{Pattern: "chat:*", Actions: millrace.ActionSubscribe}, {Pattern: "news:**", Actions: millrace.ActionPublish},
	}}
	fewer := &millrace.Grant{Subject: "chats", Rules: []millrace.Rule{{Pattern: "chat:1", Actions: millrace.ActionSubscribe}}}
	f := serve(t, rpc.Config{Authenticator: grants{"chats": chats, "fewer": fewer, "all": everything("all")}})
	stream, err := f.client().Join(bearer(f.ctx, "chats"))
	if err != nil {
		t.Fatal(err)
	}
	l := &peer{stream: stream, tap: tap{TB: t, recv: func() ([]*millracev1.Update, error) {
		m, err := stream.Recv()
		return m.GetUpdates(), err
	}}}
	l.send(&millracev1.Command{Kind: &millracev1.Command_Hello{Hello: &millracev1.Hello{}}})
	l.next()
	l.send(subscribe(1, "chat:*", millrace.Start{}), subscribe(2, "chat:1", millrace.Start{}))
	for range 2 {
		if u := l.next(); u.GetAttached() == nil {
			t.Fatalf("got %v, want attached", u)
		}
	}
	for i, pattern := range []string{"chat:**", "**", "news:*", "*:1", "$sessions:*"} {
		l.send(subscribe(uint32(3+i), pattern, millrace.Start{}))
		l.refusedWith(uint32(3+i), millrace.ReasonForbidden)
	}
	l.send(&millracev1.Command{Id: 9, Kind: &millracev1.Command_Refresh{Refresh: &millracev1.Refresh{Token: "fewer"}}})
	l.refusedWith(1, millrace.ReasonForbidden)
	if r := l.reply(9); r.GetError() != nil {
		t.Errorf("the refresh is answered %v", r)
	}
	all, err := f.client().Subscribe(bearer(f.ctx, "all"), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "**"}}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := all.Recv(); err != nil || !m.GetUpdates()[0].GetAttached().GetPattern() {
		t.Errorf("got %v, %v", m, err)
	}
}

// Promise: docs/delivery.md 5.1.
func TestAStreamOfAPatternIsTheTopicsThatItCovers(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	f.publish("chat:old", 5)
	named := f.publish("chat:named", 5)
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "chat:named", Start: wire.Start(millrace.After(named[3]))},
		{Topic: "chat:*", Start: wire.Start(millrace.Start{Kind: millrace.StartEarliest})},
		{Topic: "*:old"},
	}}))
	b.until(func() bool {
		return b.entries[2] != nil && b.entries[2].attached && b.entries[3] != nil && b.entries[3].attached
	})
	f.publish("chat:born", 3)
	f.publish("chat:old", 1)
	f.publish("chat:named", 1)
	has := func(topic string, n int) bool { e := b.of(topic); return e != nil && len(e.events) == n }
	b.until(func() bool { return has("chat:born", 3) && has("chat:old", 6) && has("chat:named", 2) })
	if e := b.entries[1]; e.topic != "chat:named" || e.by != 0 {
		t.Errorf("the topic that was named is %+v", e)
	}
	for alias, e := range b.entries {
		if matched := alias >= 1<<31; matched != (e.by == 2) {
			t.Errorf("under %d is %s, by the pattern under %d", alias, e.topic, e.by)
		}
	}
	if len(b.entries) != 5 {
		t.Errorf("there are %d aliases", len(b.entries))
	}
	if e := b.of("chat:born"); !e.first.IsZero() {
		t.Errorf("the topic that was born is followed from %s", e.first)
	}
}

// A cursor that has the pattern and lacks a topic that there was would begin that topic from its birth.
// Promise: docs/delivery.md 5.1, 5.2.
func TestAPatternIsToldAsAttachedAfterTheTopicsThatThereWere(t *testing.T) {
	f := serve(t, rpc.Config{})
	const topics = 200
	for i := range topics {
		f.publish(fmt.Sprint("chat:", i), 2)
	}
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "chat:*"}}}))
	told := 0
	b.until(func() bool {
		if e := b.entries[1]; e != nil && e.attached {
			return true
		}
		told = len(b.entries)
		return false
	})
	if told != topics {
		t.Errorf("the pattern was told as attached after %d of %d topics", told, topics)
	}
}

// Promise: docs/delivery.md 5.4.
func TestAnEphemeralTopicOfAPatternIsHeardFromWhereItIsAttached(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	f.publish("typing:a", 1) // nobody keeps it, so there is nothing to match
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "typing:*"}}}))
	b.until(func() bool { return b.entries[1] != nil && b.entries[1].attached })
	if len(b.entries) > 1 {
		t.Fatalf("matched are %v", b.entries)
	}
	f.publish("typing:a", 1)
	b.until(func() bool { return b.of("typing:a") != nil })
	e := b.of("typing:a")
	if e.position || e.class != millrace.ClassEphemeral || len(e.gaps) > 0 {
		t.Fatalf("the topic is attached as %+v", e)
	}
	f.publish("typing:a", 1)
	b.until(func() bool { return len(e.events) > 0 })
	numbered(t, e.events, 1)
}

// Promise: docs/delivery.md 5.3.
func TestAPatternThatIsMoreThanAStreamMayHaveEndsAndItsTopicsGoOn(t *testing.T) {
	f := serve(t, rpc.Config{MaxTopics: 3})
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "chat:*"}}}))
	b.until(func() bool { return b.entries[1] != nil })
	for i := range 4 {
		f.publish(fmt.Sprint("chat:", i), 1)
	}
	b.until(func() bool { return b.entries[1].refused != "" })
	if b.entries[1].refused != millrace.ReasonTooManyTopics {
		t.Errorf("the pattern is refused as %s", b.entries[1].refused)
	}
	f.publish("chat:0", 1)
	f.publish("chat:1", 1)
	b.until(func() bool {
		zero, one := b.of("chat:0"), b.of("chat:1")
		return zero != nil && one != nil && len(zero.events) == 2 && len(one.events) == 2
	})
}

func TestARateOnAPatternIsRefusedForItsTopicsThatOweEveryEvent(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	f.publish("chat:a", 1)
	f.put(&millracev1.NewEvent{Topic: "latest:a", Key: "k"})
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "*:a", MaxRate: 100}}}))
	b.until(func() bool {
		chat, latest := b.of("chat:a"), b.of("latest:a")
		return chat != nil && chat.refused != "" && latest != nil && len(latest.events) == 1
	})
	if e := b.of("chat:a"); e.refused != millrace.ReasonUnsupported || e.by != 1 {
		t.Errorf("the topic of class log is %+v", e)
	}
}

// Promise: docs/delivery.md 5.2.
func TestACursorWithAPatternResumesExactly(t *testing.T) {
	f := serve(t, rpc.Config{}, classes())
	known := f.publish("chat:known", 5)
	f.publish("chat:apart", 5)
	f.publish("chat:born", 3) // after the cursor was made, which has no piece of it
	filter, err := millrace.ParseFilter(`name != "x"`)
	if err != nil {
		t.Fatal(err)
	}
	all, err := millrace.ParseFilter(`name != "y"`)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"chat:known", "chat:born", "chat:apart"} {
		f.put(&millracev1.NewEvent{Topic: topic, Name: "x"})
		f.put(&millracev1.NewEvent{Topic: topic, Name: "z"})
	}
	cursor := millrace.Cursor{
		Options: []millrace.Option{{Topic: "chat:*", Filter: filter}, {Topic: "chat:apart", Filter: all}},
		Pieces: []millrace.Piece{
			{Topic: "chat:known", Position: known[3], Attached: true},
			{Topic: "chat:*", Attached: true},
			{Topic: "chat:apart"},
		},
	}
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Cursor: cursor.String()}))
	b.until(func() bool {
		born := b.of("chat:born")
		return b.entries[1] != nil && b.entries[1].pos.Offset == 7 && b.entries[2] != nil && b.entries[2].attached &&
			b.entries[3] != nil && born != nil && born.pos.Offset == 5
	})
	if e := b.entries[1]; e.first != known[3] || len(e.events) != 2 || e.passed != 1 {
		t.Errorf("of the topic with a piece came %+v", e)
	}
	if e := b.of("chat:born"); !e.first.IsZero() || len(e.events) != 4 || e.by != 2 || len(e.gaps) > 0 {
		t.Errorf("of the topic that was born came %+v", e)
	}
	f.put(&millracev1.NewEvent{Topic: "chat:apart", Name: "x"})
	b.until(func() bool { return len(b.entries[3].events) == 1 })

	// Options of the request count, for the topics of the pattern too.
	b = newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{
		Cursor: cursor.String(), Subscriptions: []*millracev1.Subscription{{Topic: "chat:*", Filter: `name == "x"`}},
	}))
	b.until(func() bool { return b.entries[1] != nil && b.entries[1].pos.Offset == 7 })
	if e := b.entries[1]; len(e.events) != 1 || e.events[0].Name != "x" {
		t.Errorf("of the topic with a piece came %+v", e)
	}
}

// Promise: docs/delivery.md 5.1.
func TestAStreamOfAPatternMissesNothingOfTopicsThatAreBorn(t *testing.T) {
	const publishers, topics, each = 3, 100, 4
	f := serve(t, rpc.Config{}, bounds{})
	b := newBook(f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{
		{Topic: "**", Start: wire.Start(millrace.Start{Kind: millrace.StartEarliest})},
	}}))
	var births sync.WaitGroup
	for p := range publishers {
		births.Go(func() {
			for i := range topics {
				for range each {
					f.publish(fmt.Sprint("t:", (i+p*topics/publishers)%topics), 1)
				}
			}
		})
	}
	defer births.Wait()
	complete := map[uint32]bool{}
	b.until(func() bool {
		for alias, e := range b.entries {
			if len(e.gaps) > 0 {
				t.Fatalf("of %s gaps %v are told", e.topic, e.gaps)
			}
			if len(e.events) == publishers*each {
				complete[alias] = true
			}
		}
		return len(complete) == topics
	})
}
