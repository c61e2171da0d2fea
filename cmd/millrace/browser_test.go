package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/millrace-dev/millrace"
	client "github.com/millrace-dev/millrace/sdk/go"
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
	tab, cancel = context.WithTimeout(tab, patience)
	t.Cleanup(cancel)
	return tab
}

func do(t *testing.T, tab context.Context, what string, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(tab, actions...); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// screenshot keeps a picture of the page, if MILLRACE_SCREENSHOTS names a folder for it.
func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	dir := os.Getenv("MILLRACE_SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	do(t, tab, "take a screenshot", chromedp.CaptureScreenshot(&png))
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
		if (f.subscribed) window.attached++;
		if (f.event) window.seen.ws.push(f.event.position.offset + ":" + f.event.data.n);
	};
	const sse = new EventSource("http://%[2]s/v1/events?topic=%[3]s");
	sse.addEventListener("subscribed", () => window.attached++);
	sse.addEventListener("tick", m => {
		const piece = m.lastEventId.split(",").pop();
		window.seen.sse.push(piece.split("-")[0] + ":" + JSON.parse(m.data).n);
	});
})()`

// Two backends publish, one by the Go SDK and one by raw gRPC; a browser with nothing but WebSocket and EventSource gets
// the same events in the same order on both.
func TestABrowserReceivesTheSameEventsOnWebSocketAndEventSource(t *testing.T) {
	dev := start(t, "dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0")
	origin := "http://" + dev.addr("http")
	s := startSplit(t, "--origins", origin)
	const topic = "chat:42"
	tab := browse(t)
	do(t, tab, "open the page", chromedp.Navigate(origin+"/"),
		chromedp.Evaluate(fmt.Sprintf(barePage, s.ws.addr("http"), s.sse.addr("http"), topic), nil),
		chromedp.Poll(`window.attached === 2`, nil))

	backend, err := client.Dial(s.broker.addr("grpc"), client.WithInsecurePlaintext())
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
	var seen struct {
		WS  []string `json:"ws"`
		SSE []string `json:"sse"`
	}
	do(t, tab, "wait for the events", chromedp.Poll(`window.seen.ws.length >= 60 && window.seen.sse.length >= 60`, nil),
		chromedp.Evaluate(`window.seen`, &seen))
	if !slices.Equal(seen.WS, want) {
		t.Errorf("the WebSocket got %v, want %v", seen.WS, want)
	}
	if !slices.Equal(seen.SSE, want) {
		t.Errorf("the EventSource got %v, want %v", seen.SSE, want)
	}
}
