package main_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// command runs millrace to its end and returns what it said.
func command(t *testing.T, args ...string) (code int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), strings.TrimSpace(o.String()), strings.TrimSpace(e.String())
}

// line is what subscribe prints, all kinds in one.
type line struct {
	Topic     string
	Key       string
	Tombstone bool
	Position  *struct{ Offset, Mark string }
	Data      json.RawMessage
	Cursor    string
	Gap       *struct{ Topic, Cause, Count string }
	Conflated *struct{ Topic, Count string }
}

func parse(t *testing.T, text string) line {
	t.Helper()
	var l line
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return l
}

// reading is a running millrace subscribe.
type reading struct {
	t     *testing.T
	lines *bufio.Scanner
}

func read(t *testing.T, args ...string) *reading {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"subscribe"}, args...)...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // and then by our hand
	})
	return &reading{t: t, lines: bufio.NewScanner(out)}
}

func (r *reading) next() line {
	r.t.Helper()
	if !r.lines.Scan() {
		r.t.Fatalf("millrace subscribe ended: %v", r.lines.Err())
	}
	return parse(r.t, r.lines.Text())
}

// classes starts a broker that has topics of each class.
func classes(t *testing.T) (addr string) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "millrace.yaml")
	rules := "rules:\n  - {pattern: 'price:*', class: latest, max_events: 500}\n  - {pattern: 'pointer:*', class: ephemeral}\n"
	if err := os.WriteFile(config, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return start(t, "broker", "--listen", "127.0.0.1:0", "--config", config).addr("grpc")
}

func TestTheCommandLineFollowsPatternsThroughAFilterAndResumes(t *testing.T) {
	addr := classes(t)
	put := func(topic, name string) {
		t.Helper()
		if code, out, stderr := command(t, "publish", topic, "1", "--name", name, "--broker", addr); code != 0 || !strings.Contains(out, "-") {
			t.Fatalf("publish: %d, %s, %s", code, out, stderr)
		}
	}
	put("orders:1", "seen")
	put("orders:1", "paid")
	put("other:1", "paid")
	put("orders:2", "paid")
	code, out, stderr := command(t, "subscribe", "orders:*", "--start", "earliest", "--filter", `name == "paid"`, "--count", "2", "--broker", addr)
	if code != 0 {
		t.Fatalf("subscribe: %d, %s", code, stderr)
	}
	got := map[string]string{}
	var cursor string
	for text := range strings.Lines(out) {
		l := parse(t, text)
		got[l.Topic] = l.Position.Offset
		cursor = l.Cursor
	}
	if len(got) != 2 || got["orders:1"] != "2" || got["orders:2"] != "1" {
		t.Fatalf("printed were %s", out)
	}
	put("orders:3", "seen")
	put("orders:3", "paid")
	code, out, stderr = command(t, "subscribe", "--cursor", cursor, "--count", "1", "--broker", addr)
	if l := parse(t, out); code != 0 || l.Topic != "orders:3" || l.Position.Offset != "2" {
		t.Errorf("resumed behind %s: %d, %s, %s", cursor, code, out, stderr)
	}
}

func TestTheCommandLineShowsAStateAndItsTombstones(t *testing.T) {
	addr := classes(t)
	for _, args := range [][]string{{"1", "--event-key", "a"}, {"2", "--event-key", "a"}, {"3", "--event-key", "b"}, {"--tombstone", "--event-key", "a"}} {
		if code, _, stderr := command(t, append([]string{"publish", "price:x", "--broker", addr}, args...)...); code != 0 {
			t.Fatalf("publish %v: %d, %s", args, code, stderr)
		}
	}
	_, out, _ := command(t, "subscribe", "price:x", "--count", "2", "--broker", addr)
	first, second, _ := strings.Cut(out, "\n")
	if l := parse(t, first); l.Key != "b" || string(l.Data) != "3" || l.Tombstone {
		t.Errorf("the first line is %s", first)
	}
	if l := parse(t, second); l.Key != "a" || l.Data != nil || !l.Tombstone {
		t.Errorf("the second line is %s", second)
	}
	for _, args := range [][]string{{"1"}, {"--tombstone", "--event-key", "a", "--data-file", "-"}, {"4", "--tombstone", "--event-key", "a"}} {
		if code, out, _ := command(t, append([]string{"publish", "price:x", "--broker", addr}, args...)...); code == 0 {
			t.Errorf("publish %v printed %s", args, out)
		}
	}
}

func TestTheCommandLineTellsWhatWasConflated(t *testing.T) {
	addr := classes(t)
	broker := dialBroker(t, addr)
	put := func() {
		if _, err := broker.Publish(t.Context(), &millracev1.PublishRequest{Events: []*millracev1.NewEvent{{Topic: "price:x", Key: "a", Data: []byte("1")}}}); err != nil {
			t.Error(err)
		}
	}
	put()
	r := read(t, "price:x", "--max-rate", "10", "--broker", addr)
	if l := r.next(); l.Position == nil || l.Position.Offset != "1" {
		t.Fatalf("the first line is %+v", l)
	}
	for range 20 {
		put()
	}
	for {
		l := r.next()
		if l.Conflated == nil {
			continue
		}
		if l.Conflated.Topic != "price:x" || l.Conflated.Count == "0" || l.Cursor != "" {
			t.Errorf("what is conflated is told as %+v", l.Conflated)
		}
		if after := r.next(); after.Position == nil || after.Key != "a" {
			t.Errorf("it is followed by %+v", after)
		}
		return
	}
}

func TestTheCommandLinePassesEphemeralEventsOn(t *testing.T) {
	addr := classes(t)
	r := read(t, "pointer:1", "--broker", addr, "--count", "1")
	arrived := make(chan string, 1)
	go func() {
		r.lines.Scan()
		arrived <- r.lines.Text()
	}()
	for {
		code, out, stderr := command(t, "publish", "pointer:1", "7", "--broker", addr)
		if code != 0 || out != "" || !strings.Contains(stderr, "ephemeral") {
			t.Fatalf("publish: %d, %s, %s", code, out, stderr)
		}
		select {
		case text := <-arrived:
			if l := parse(t, text); l.Topic != "pointer:1" || l.Position != nil || string(l.Data) != "7" {
				t.Errorf("printed is %+v", l)
			}
			return
		default:
		}
	}
}

func TestTheCommandLinePublishesOnACondition(t *testing.T) {
	addr := classes(t)
	_, born, _ := command(t, "publish", "a", "1", "--expect", "0-0", "--broker", addr)
	if !strings.HasPrefix(born, "1-") {
		t.Fatalf("the first is at %q", born)
	}
	if code, out, stderr := command(t, "publish", "a", "2", "--expect", "0-0", "--broker", addr); code == 0 || !strings.Contains(stderr, "conflict") {
		t.Errorf("a condition that does not hold: %d, %s, %s", code, out, stderr)
	}
	if code, out, stderr := command(t, "publish", "a", "2", "--expect", born, "--broker", addr); code != 0 || !strings.HasPrefix(out, "2-") {
		t.Errorf("a condition that holds: %d, %s, %s", code, out, stderr)
	}
}
