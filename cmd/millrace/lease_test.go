package main_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// A gateway that is killed with a thousand members gives a leave for each of those who do not come back, once, and none for
// those who do: they are members all the time.
// Promise: docs/delivery.md 9.4.
func TestAKilledGatewaysMembersLeaveOnceAndThoseWhoCameBackDoNot(t *testing.T) {
	const members, back, topic = 1_000, 100, "room:1"
	broker := start(t, "broker", "--listen", "127.0.0.1:0", "--lease", "5s")
	gateway := func(name string) *process {
		return start(t, "wsgateway", "--listen", "127.0.0.1:0", "--broker", broker.addr("grpc"), "--anonymous", "--seal-key", sealKey, "--peer", name)
	}
	doomed, safe := gateway("doomed"), gateway("safe")
	client := dialBroker(t, broker.addr("grpc"))
	log := followLifecycles(t, client)

	guests := make([]*guest, members)
	var coming sync.WaitGroup
	for i := range guests {
		guests[i] = newGuest(t, fmt.Sprintf("guest %d", i))
		coming.Go(func() {
			if err := guests[i].come(doomed.addr("http")); err != nil {
				t.Error(err)
				return
			}
			guests[i].join(topic, "{}")
		})
	}
	coming.Wait()
	staying := map[string]string{}
	doomed.kill()
	killed := time.Now()
	for _, g := range guests[:back] {
		<-g.down
		if err := g.come(safe.addr("http")); err != nil {
			t.Fatal(err)
		}
		staying[g.session] = "{}"
	}
	s := &soak{t: t, client: client, gateways: []*process{doomed, safe}}
	s.until("the list", staying, func() map[string]string { return s.listed(topic) })
	s.until("the lifecycle log", staying, func() map[string]string { return log.list(topic) })
	t.Logf("all had left %v after the kill", time.Since(killed).Round(time.Millisecond))

	leaves := log.leaves(topic)
	if len(leaves) != members-back {
		t.Errorf("there are %d leaves, want %d", len(leaves), members-back)
	}
	left := map[string]bool{}
	for _, m := range leaves {
		if _, stays := staying[m.Member.Session]; stays || left[m.Member.Session] || m.Reason != millrace.LeftLease {
			t.Errorf("%s left with reason %q; stays: %v, left before: %v", m.Member.Session, m.Reason, stays, left[m.Member.Session])
		}
		left[m.Member.Session] = true
	}
	page, err := client.Presence(t.Context(), &millracev1.PresenceRequest{Topic: topic, CountOnly: true})
	if err != nil || page.GetCount() != back || len(page.GetMembers()) > 0 {
		t.Errorf("the counts are %v, %v", page, err)
	}
	for _, g := range append(guests[:back:back], &guest{faults: log.faults}) {
		for _, fault := range g.faults {
			t.Error(fault)
		}
	}
}

// A gateway that is killed and comes back under its name finds the members of its former process where they were: who comes
// back to it has not left.
// Promise: docs/delivery.md 9.3.
func TestMembersOfAGatewayThatIsStartedAnewUnderItsNameHaveNotLeft(t *testing.T) {
	broker := start(t, "broker", "--listen", "127.0.0.1:0", "--lease", "30s")
	g := start(t, "wsgateway", "--listen", freePort(t), "--broker", broker.addr("grpc"), "--anonymous", "--seal-key", sealKey, "--peer", "gateway")
	log := followLifecycles(t, dialBroker(t, broker.addr("grpc")))
	staying := newGuest(t, "staying")
	if err := staying.come(g.addr("http")); err != nil {
		t.Fatal(err)
	}
	staying.join("room:1", `{"v":1}`)
	g.kill()
	<-staying.down
	g.run(g.args)
	other := newGuest(t, "other") // whose join shows that the gateway's new process has told the broker of its members
	for _, one := range []*guest{other, staying} {
		if err := one.come(g.addr("http")); err != nil {
			t.Fatal(err)
		}
		one.join("room:1", `{"v":1}`)
	}
	s := &soak{t: t, client: dialBroker(t, broker.addr("grpc")), gateways: []*process{g, g}}
	want := map[string]string{staying.session: `{"v":1}`, other.session: `{"v":1}`}
	s.until("the lifecycle log", want, func() map[string]string { return log.list("room:1") })
	if leaves := log.leaves("room:1"); len(leaves) > 0 {
		t.Errorf("%+v", leaves)
	}
}
