package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace-dev/millrace/bench/chaos/proxy"
	"github.com/millrace-dev/millrace/bench/ledger"
)

// built is the millrace under test, built once.
var built string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a folder for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = filepath.Join(dir, "millrace")
	build := exec.Command("go", "build", "-o", built, "./cmd/millrace")
	build.Dir = filepath.Join("..", "..")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build millrace:", err)
		return 1
	}
	code := m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// small is a run of a few peers without faults but for those that are given.
func small(faults ...fault) config {
	return config{
		binary: built, seed: 1, length: 3 * time.Second, subscribers: 10, topics: 1, rate: 60, patience: 20 * time.Second,
		faults: append([]fault{}, faults...),
	}
}

func (c config) check(t *testing.T) *result {
	t.Helper()
	r, err := c.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, all := r.run.troubles.all(); n > 0 {
		t.Errorf("%d troubles: %v", n, all)
	}
	if r.report.Acked < 50 || r.report.Deliveries < 10*50 {
		t.Errorf("%d events were acked and %d delivered; that shows nothing", r.report.Acked, r.report.Deliveries)
	}
	return r
}

func TestARunInWhichABrokerIsKilledIsWhole(t *testing.T) {
	r := small(fault{at: time.Second, kind: killBroker, hold: 200 * time.Millisecond}).check(t)
	if !r.report.Whole() {
		r.print(t.Output())
		t.Error("a promise was broken")
	}
	if r.report.Lineages != 2 {
		t.Errorf("%d lineages", r.report.Lineages)
	}
}

// What breaks one promise on the way to one peer makes the whole run fail, by that promise's name.
func TestOneFrameThatIsTamperedWithBreaksTheRun(t *testing.T) {
	kill := fault{at: time.Second, kind: killBroker, hold: 200 * time.Millisecond}
	for name, c := range map[string]struct {
		surgery *surgery
		faults  []fault
		want    ledger.Kind
	}{
		"an event is dropped": {
			&surgery{begins: `{"event"`, next: `{"event"`, after: 40, cut: func(_, next []byte) []byte { return next }}, nil, ledger.Unreported,
		},
		"an event is repeated": {
			&surgery{begins: `{"event"`, next: `{"event"`, after: 40, cut: func(f, next []byte) []byte { return slices.Concat(f, f, next) }}, nil, ledger.Repeated,
		},
		"two events change places": {
			&surgery{begins: `{"event"`, next: `{"event"`, after: 40, cut: func(f, next []byte) []byte { return slices.Concat(next, f) }}, nil, ledger.Reordered,
		},
		"a reset is not told": {
			&surgery{begins: `{"gap"`, cut: func(_, next []byte) []byte { return next }}, []fault{kill}, ledger.Unreported,
		},
	} {
		t.Run(name, func(t *testing.T) {
			run := small(c.faults...)
			run.websocket = proxy.Config{Tap: c.surgery.tap}
			r := run.check(t)
			for _, k := range ledger.Kinds() {
				if n := r.report.Violations[k]; (n > 0) != (k == c.want) {
					t.Errorf("%d %s; want only %s", n, k, c.want)
				}
			}
			if r.whole() || t.Failed() {
				r.print(t.Output())
			}
		})
	}
}
