package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// browse starts a headless Chromium with one tab.
func browse(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("these tests need Chromium (make test installs it): %v", err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(1280, 860))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	tab, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(t.Logf))
	t.Cleanup(cancel)
	do(t, tab, chromedp.Navigate("about:blank")) // begins the browser, which a deadline here would end
	tab, cancel = context.WithTimeout(tab, patience)
	t.Cleanup(cancel)
	return tab
}

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, steps...); err != nil {
		t.Fatal(err)
	}
}

// ask returns what an action finds in the page.
func ask[T any](t *testing.T, tab context.Context, action chromedp.Action[T]) T {
	t.Helper()
	v, err := chromedp.Run(tab, action)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// await waits until an expression holds in the page.
func await(t *testing.T, tab context.Context, expression string) {
	t.Helper()
	if _, err := chromedp.Run(tab, chromedp.Poll[bool](expression)); err != nil {
		t.Fatalf("wait for %s: %v", expression, err)
	}
}

// screenshot keeps a picture of the page, if MILLRACE_SCREENSHOTS names a folder for it.
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("MILLRACE_SCREENSHOTS")
	if dir == "" {
		return
	}
	png := ask(t, tab, chromedp.CaptureScreenshot())
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		t.Fatal(err)
	}
}

const barePage = `(() => {
	window.seen = {ws: [], sse: []};
	window.attached = 0;
	const ws = new WebSocket("ws://%[1]s/v1/ws?topic=%[3]s");
	ws.onmessage = m => {
		const f = JSON.parse(m.data);
		if (f.subscribed && !f.subscribed.pending) window.attached++;
		if (f.event) window.seen.ws.push(f.event.position.offset + ":" + f.event.data.n);
	};
	const sse = new EventSource("http://%[2]s/v1/events?topic=%[3]s");
	sse.addEventListener("subscribed", m => JSON.parse(m.data).pending || window.attached++);
	sse.addEventListener("tick", m => {
		const piece = m.lastEventId.split(",").pop();
		window.seen.sse.push(piece.split("-")[0] + ":" + JSON.parse(m.data).n);
	});
})()`

// Two backends publish, one by the Go SDK and one by raw gRPC; a browser with nothing but WebSocket and EventSource gets
// the same events in the same order on both.
// Promise: docs/delivery.md 1.1, 1.2.
func TestABrowserReceivesTheSameEventsOnWebSocketAndEventSource(t *testing.T) {
	dev := start(t, "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
	origin := "http://" + dev.addr("http")
	s := startSplit(t, "--origins", origin)
	const topic = "chat:42"
	tab := browse(t)
	do(t, tab, chromedp.Navigate(origin+"/"))
	ask(t, tab, chromedp.Evaluate[any](fmt.Sprintf(barePage, s.ws.addr("http"), s.sse.addr("http"), topic)))
	await(t, tab, `window.attached === 2`)

	backend, err := sdk.Dial(s.broker.addr("grpc"), sdk.WithInsecurePlaintext())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	raw := dialBroker(t, s.broker.addr("grpc"))
	var want []string
	for n := range 60 {
		event := &millrace.Event{Topic: topic, Name: "tick", Data: fmt.Appendf(nil, `{"n":%d}`, n)}
		if n%2 == 0 {
			acks, err := backend.Publish(t.Context(), event)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, fmt.Sprintf("%d:%d", acks[0].Position.Offset, n))
			continue
		}
		at := publishNamed(t, raw, topic, "tick", event.Data)
		want = append(want, fmt.Sprintf("%d:%d", at.Offset, n))
	}
	await(t, tab, `window.seen.ws.length >= 60 && window.seen.sse.length >= 60`)
	seen := ask(t, tab, chromedp.Evaluate[struct {
		WS  []string `json:"ws"`
		SSE []string `json:"sse"`
	}](`window.seen`))
	if !slices.Equal(seen.WS, want) {
		t.Errorf("the WebSocket got %v, want %v", seen.WS, want)
	}
	if !slices.Equal(seen.SSE, want) {
		t.Errorf("the EventSource got %v, want %v", seen.SSE, want)
	}
}

// A bare EventSource loses its gateway, comes back by itself to the one that takes its place, and has missed nothing.
// Promise: docs/delivery.md 1.4.
func TestABareEventSourceResumesByItself(t *testing.T) {
	dev := start(t, "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
	origin := "http://" + dev.addr("http")
	b := start(t, "broker", "--listen", "127.0.0.1:0")
	addr := freePort(t)
	args := []string{"ssegateway", "--listen", addr, "--broker", b.addr("grpc"), "--anonymous", "--origins", origin}
	gateway := start(t, args...)
	broker := dialBroker(t, b.addr("grpc"))
	tab := browse(t)
	do(t, tab, chromedp.Navigate(origin+"/"))
	ask(t, tab, chromedp.Evaluate[any](fmt.Sprintf(`(() => {
		window.seen = [];
		window.attached = 0;
		const sse = new EventSource("http://%s/v1/events?topic=a:1&topic=b:1");
		sse.addEventListener("subscribed", m => JSON.parse(m.data).pending || window.attached++);
		sse.onmessage = m => window.seen.push(JSON.parse(m.data).n);
	})()`, addr)))
	await(t, tab, `window.attached === 2`)
	publish(t, broker, "a:1", 0, 5)
	await(t, tab, `window.seen.length === 5`)
	gateway.kill()
	publish(t, broker, "a:1", 5, 20)
	start(t, args...)
	await(t, tab, `window.attached === 4`)
	publish(t, broker, "a:1", 25, 5)
	await(t, tab, `window.seen.length >= 30`)
	seen := ask(t, tab, chromedp.Evaluate[[]int](`window.seen`))
	for i, n := range seen {
		if n != i || len(seen) != 30 {
			t.Fatalf("the page saw %v", seen)
		}
	}
}

const watchingPage = `(() => {
	window.told = {ws: [], sse: []};
	window.attached = 0;
	window.broken = 0;
	const say = g => [g.cause, g.after.offset, g.until.offset].join(" ");
	const ws = new WebSocket("ws://%[1]s/v1/ws?cursor=%[3]s");
	ws.onmessage = m => {
		const f = JSON.parse(m.data);
		if (f.subscribed && !f.subscribed.pending) window.attached++;
		if (f.gap) window.told.ws.push(say(f.gap));
		if (f.event) window.told.ws.push(f.event.position.offset);
	};
	ws.onclose = () => window.broken++;
	const sse = new EventSource("http://%[2]s/v1/events?cursor=%[3]s");
	sse.addEventListener("subscribed", m => JSON.parse(m.data).pending || window.attached++);
	sse.addEventListener("gap", m => window.told.sse.push(say(JSON.parse(m.data))));
	sse.onmessage = m => window.told.sse.push(m.lastEventId.split(",").pop().split("-")[0]);
	sse.onerror = () => window.broken++;
})()`

// A page whose cursor is older than the log is told exactly what it missed, on a bare EventSource too; and
// when the broker is killed and begins anew, its connections stay and it is told of the reset (promises 5 and 9).
// Promise: docs/delivery.md 1.2, 1.5.
func TestABrowserIsToldOfGapsAndKeepsItsConnectionsWhenTheBrokerIsKilled(t *testing.T) {
	dev := start(t, "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
	origin, addr := "http://"+dev.addr("http"), freePort(t)
	brokerArgs := []string{"broker", "--listen", addr, "--topic-max-events", "10"}
	b := start(t, brokerArgs...)
	gateway := func(role string) *process {
		return start(t, role, "--listen", "127.0.0.1:0", "--broker", addr, "--anonymous", "--origins", origin)
	}
	ws, sse := gateway("wsgateway"), gateway("ssegateway")
	at := publish(t, dialBroker(t, addr), "a:1", 0, 25)
	cursor := millrace.Cursor{Pieces: []millrace.Piece{{Topic: "a:1", Position: at[4], Attached: true}}}
	want := []string{"trimmed 5 15"}
	for offset := 16; offset <= 25; offset++ {
		want = append(want, strconv.Itoa(offset))
	}

	tab := browse(t)
	do(t, tab, chromedp.Navigate(origin+"/"))
	ask(t, tab, chromedp.Evaluate[any](fmt.Sprintf(watchingPage, ws.addr("http"), sse.addr("http"), cursor)))
	await(t, tab, `window.attached === 2 && window.told.ws.length >= 11 && window.told.sse.length >= 11`)
	b.kill()
	start(t, brokerArgs...)
	publish(t, waitForBroker(t, addr), "a:1", 25, 2)
	want = append(want, "reset 25 0", "1", "2")
	await(t, tab, `window.told.ws.length >= 14 && window.told.sse.length >= 14`)
	told := ask(t, tab, chromedp.Evaluate[map[string][]string](`window.told`))
	for wire, got := range told {
		if !slices.Equal(got, want) {
			t.Errorf("%s was told %v, want %v", wire, got, want)
		}
	}
	if broken := ask(t, tab, chromedp.Evaluate[int](`window.broken`)); broken != 0 {
		t.Errorf("%d connections broke", broken)
	}
}

// A newcomer chooses topics, connects, publishes, cuts the connection, and sees what was missed come back.
func TestTheConsoleShowsEventsACutAndTheResume(t *testing.T) {
	for _, transport := range []string{"ws", "sse"} {
		t.Run(transport, func(t *testing.T) {
			dev := start(t, "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
			broker := dialBroker(t, dev.addr("grpc"))
			tab := browse(t)
			id := func(name string) string { return `[data-testid="` + name + `"]` }
			text := func(name string) string {
				return fmt.Sprintf(`document.querySelector('%s').textContent`, id(name))
			}
			do(t, tab, chromedp.Navigate("http://"+dev.addr("http")+"/"), chromedp.Click(id("transport-"+transport)),
				chromedp.Click(id("connect")))
			await(t, tab, text("positions")+`.includes("chat:1")`)
			do(t, tab, chromedp.Click(id("publish")))
			await(t, tab, text("count")+` === "1"`)
			publishNamed(t, broker, "chat:1", "message", []byte(`{"from":"a backend"}`))
			await(t, tab, text("count")+` === "2"`)
			screenshot(t, tab, "console-"+transport+"-live")

			do(t, tab, chromedp.Click(id("cut")), chromedp.WaitVisible(id("resume")))
			for n := range 7 {
				publishNamed(t, broker, "chat:1", "message", fmt.Appendf(nil, `{"missed":%d}`, n))
			}
			screenshot(t, tab, "console-"+transport+"-cut")
			do(t, tab, chromedp.Click(id("resume")))
			await(t, tab, text("count")+` === "9"`)
			publishNamed(t, broker, "chat:1", "message", []byte(`{"live":"again"}`))
			await(t, tab, text("count")+` === "10"`)
			screenshot(t, tab, "console-"+transport+"-resumed")
			for _, never := range []string{"gaps", "faults"} {
				if got := ask(t, tab, chromedp.Evaluate[string](text(never))); got != "0" {
					t.Errorf("the console counts %s %s", got, never)
				}
			}
		})
	}
}

// Who is typing is worth nothing a moment later, so dev keeps such topics as ephemeral, unless the operator's rules say otherwise. The
// console shows events without positions for what they are.
func TestTheConsoleShowsEphemeralEventsAndDevHasARuleForTyping(t *testing.T) {
	rules := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {pattern: 'typing:*', class: log}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		offset string // as the console shows it
	}{
		"as dev has it":           {nil, "–"},
		"with an operator's rule": {[]string{"--config", rules}, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			dev := start(t, append([]string{"dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"}, c.args...)...)
			for _, transport := range transports {
				tab := browse(t)
				do(t, tab, chromedp.Navigate("http://"+dev.addr("http")+"/#topics=typing:"+transport+"&transport="+transport), chromedp.Click(testID("connect")))
				await(t, tab, fmt.Sprintf(`document.querySelector('%s').textContent.includes("typing:%s")`, testID("positions"), transport))
				ask(t, tab, chromedp.Evaluate[any](fmt.Sprintf(`document.getElementById("publish-topic").value = "typing:%s"`, transport)))
				do(t, tab, chromedp.Click(testID("publish")))
				await(t, tab, fmt.Sprintf(`document.querySelector('%s .offset')?.textContent === %q`, testID("event"), c.offset))
				if faults := ask(t, tab, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector('%s').textContent`, testID("faults")))); faults != "0" {
					t.Errorf("the console counts %s faults", faults)
				}
			}
		})
	}
}
