package rpc_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker/rpc"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

func TestOperatorsSeeTheBroker(t *testing.T) {
	f := serve(t, rpc.Config{Broker: "b-1", Version: "1.2", Engine: "memory"})
	f.publish("a", 2)
	f.publish("b", 1)
	l := f.greet(f.client(), &millracev1.Hello{Peer: "gw-1", Agent: "test/1"})
	l.send(subscribe(1, "a", millrace.Start{}), subscribe(2, "b", millrace.Start{}))
	l.next()
	l.next()
	s := f.subscribe(f.client(), &millracev1.SubscribeRequest{Subscriptions: []*millracev1.Subscription{{Topic: "a"}}})
	s.attached(1, "a")
	got, err := millracev1.NewAdminServiceClient(f.dial()).GetStatus(f.ctx, &millracev1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetBroker() != "b-1" || got.GetVersion() != "1.2" || got.GetEngine() != "memory" || got.GetStartedMs() == 0 ||
		got.GetTopics() != 2 || got.GetBytes() == 0 || got.GetSubscribers() != 1 || len(got.GetLinks()) != 1 {
		t.Fatalf("the status is %v", got)
	}
	if link := got.GetLinks()[0]; link.GetPeer() != "gw-1" || link.GetAgent() != "test/1" || link.GetAddress() == "" ||
		link.GetVersion() != 1 || link.GetOpenedMs() == 0 || link.GetSubscriptions() != 2 {
		t.Errorf("the link is %v", link)
	}
}

func TestOperatorsListTopicsPageByPage(t *testing.T) {
	f := serve(t, rpc.Config{})
	var last millrace.Position
	for i := range 25 {
		last = f.publish(fmt.Sprintf("chat:%02d", i), 3)[2]
	}
	f.publish("price:x", 1)
	admin := millracev1.NewAdminServiceClient(f.dial())
	var names []string
	var final *millracev1.Topic
	for r := (&millracev1.ListTopicsRequest{Pattern: "chat:*", Limit: 10}); ; {
		m, err := admin.ListTopics(f.ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, topic := range m.GetTopics() {
			names = append(names, topic.GetTopic())
			final = topic
		}
		if r.Page = m.GetNextPage(); r.Page == "" {
			break
		}
	}
	if len(names) != 25 || !slices.IsSorted(names) || names[24] != "chat:24" {
		t.Errorf("listed are %v", names)
	}
	if wire.ParsePosition(final.GetHead()) != last || final.GetOldest() != 1 || final.GetEvents() != 3 || final.GetBytes() == 0 || final.GetTimeMs() == 0 {
		t.Errorf("the last is %v", final)
	}
	if m, err := admin.ListTopics(f.ctx, &millracev1.ListTopicsRequest{}); err != nil || len(m.GetTopics()) != 26 {
		t.Errorf("all are %d, %v", len(m.GetTopics()), err)
	}
	_, err := admin.ListTopics(f.ctx, &millracev1.ListTopicsRequest{Pattern: "**:a"})
	refused(t, err, millrace.ReasonTopicInvalid)
}

func TestOthersThanOperatorsSeeNothing(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice"), "root": everything("root")}, Trusted: []string{"root"}})
	admin := millracev1.NewAdminServiceClient(f.dial())
	_, err := admin.GetStatus(bearer(f.ctx, "alice"), &millracev1.GetStatusRequest{})
	refused(t, err, millrace.ReasonForbidden)
	_, err = admin.ListTopics(bearer(f.ctx, "alice"), &millracev1.ListTopicsRequest{})
	refused(t, err, millrace.ReasonForbidden)
	if _, err := admin.GetStatus(bearer(f.ctx, "root"), &millracev1.GetStatusRequest{}); err != nil {
		t.Error(err)
	}
}

func TestWhereNobodyIsNamedATokenIsNoOperators(t *testing.T) {
	f := serve(t, rpc.Config{Authenticator: grants{"alice": everything("alice")}})
	_, err := millracev1.NewAdminServiceClient(f.dial()).GetStatus(bearer(f.ctx, "alice"), &millracev1.GetStatusRequest{})
	refused(t, err, millrace.ReasonForbidden)
}
