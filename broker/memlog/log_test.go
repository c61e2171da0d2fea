package memlog_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/brokertest"
	"github.com/millrace-dev/millrace/broker/memlog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, cfg memlog.Config) *memlog.Log {
	t.Helper()
	l, err := memlog.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func openRules(t *testing.T, rules ...broker.Rule) broker.Log {
	return open(t, memlog.Config{Rules: rules})
}

// Promise: docs/delivery.md 1.1, 1.2, 2.1, 2.4, 2.5, 3.1, 8.1, 8.3, 8.4, 8.5.
func TestItIsALog(t *testing.T) { brokertest.TestLog(t, openRules) }

// Promise: docs/delivery.md 1.2, 2.4, 8.2.
func TestItIsALogOverTime(t *testing.T) {
	brokertest.TestLogOverTime(t, openRules, inABubble)
}

func TestItIsARoster(t *testing.T) {
	brokertest.TestRoster(t, func(t *testing.T) brokertest.Engine {
		log := &brokertest.Refusing{Log: open(t, memlog.Config{})}
		return brokertest.Engine{Roster: openRoster(t, log), Log: log, Refuse: log.Refuse}
	}, inABubble)
}

// openRoster returns a roster without members that is closed when t ends.
func openRoster(t testing.TB, log broker.Log) *memlog.Roster {
	r := memlog.NewRoster(log)
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func inABubble(t *testing.T, body func(t *testing.T, elapse func(time.Duration))) {
	synctest.Test(t, func(t *testing.T) {
		body(t, func(d time.Duration) {
			<-time.After(d) // the time of the bubble
			synctest.Wait()
		})
	})
}
