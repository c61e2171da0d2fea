package gatewaytest_test

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/gatewaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const keeps = 50

// bounded keeps the logs of a broker that publishes behind it short.
func bounded(b *gatewaytest.Broker) gatewaytest.UpstreamHarness {
	var mu sync.Mutex
	return gatewaytest.UpstreamHarness{
		Upstream: b,
		Behind: func(events ...*millrace.Event) {
			mu.Lock()
			defer mu.Unlock()
			b.Store(events...)
			for _, e := range events {
				b.Trim(e.Topic, keeps)
			}
		},
		Keeps: keeps,
		Reset: b.Reset,
		Sever: func() func() {
			b.Detach()
			return b.Attach
		},
		Close: b.Close,
	}
}

func TestTheBrokerInMemoryIsAnUpstream(t *testing.T) {
	gatewaytest.TestUpstream(t, func(*testing.T) gatewaytest.UpstreamHarness { return bounded(gatewaytest.NewBroker()) })
}

func TestThePipeIsATransport(t *testing.T) {
	gatewaytest.TestTransport(t, func(*testing.T) gatewaytest.TransportHarness {
		p := gatewaytest.NewPipe(100_000, nil)
		var transport gateway.Transport = p
		return gatewaytest.TransportHarness{Transport: transport, Peer: p, Cut: p.Cut, Holds: 100_001}
	})
}
