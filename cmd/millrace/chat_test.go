package main_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
)

// chatPage is the chat room in a browser of its own.
type chatPage struct {
	t   *testing.T
	tab context.Context
}

// transports are the ways in, as the pages' switch names them.
var transports = []string{"ws", "sse"}

// inPage is what the tests ask of the page: lines of the transcript and messages as they stand, members by name, and everything that
// the typing indicator ever said.
const inPage = `(() => {
	const texts = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
	window.lines = kind => texts('[data-testid="line"][data-kind="' + kind + '"]');
	window.messages = () => [...document.querySelectorAll('[data-testid="message"]')].map(e =>
		[e.dataset.offset, e.dataset.name, e.querySelector(".said").textContent, e.dataset.own === "true" ? "own" : "other"].join("|"));
	window.here = () => [...document.querySelectorAll('[data-testid="member"]')].map(e => e.dataset.name + (e.dataset.own === "true" ? " (you)" : ""));
	window.typed = [];
	const typing = document.querySelector('[data-testid="typing"]');
	new MutationObserver(() => typing.textContent && typed.push(typing.textContent)).observe(typing, {childList: true});
})()`

// serveChat starts everything in one process and returns where its pages are.
func serveChat(t *testing.T, args ...string) string {
	t.Helper()
	dev := start(t, append([]string{"dev", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0"}, args...)...)
	return "http://" + dev.addr("http")
}

// enter opens the chat room, joins as someone, and waits until the page lists them.
func enter(t *testing.T, origin, transport, name string) *chatPage {
	t.Helper()
	p := &chatPage{t: t, tab: browse(t)}
	do(t, p.tab, chromedp.Navigate(origin+"/chat.html"))
	ask(t, p.tab, chromedp.Evaluate[any](inPage))
	p.write("name", name)
	p.click("transport-" + transport)
	p.click("join")
	p.await(`document.body.dataset.state === "open" && here().includes(%q)`, name+" (you)")
	return p
}

func testID(name string) string { return `[data-testid="` + name + `"]` }

func (p *chatPage) click(name string) {
	p.t.Helper()
	do(p.t, p.tab, chromedp.Click(testID(name)))
}

// write replaces the text of a field, key by key.
func (p *chatPage) write(name, text string) {
	p.t.Helper()
	ask(p.t, p.tab, chromedp.Evaluate[any](fmt.Sprintf(`document.querySelector('%s').value = ""`, testID(name))))
	do(p.t, p.tab, chromedp.SendKeys(testID(name), text))
}

func (p *chatPage) await(expression string, args ...any) {
	p.t.Helper()
	await(p.t, p.tab, fmt.Sprintf(expression, args...))
}

// lines returns what the transcript says of a kind of happening.
func (p *chatPage) lines(kind string) []string {
	p.t.Helper()
	return ask(p.t, p.tab, chromedp.Evaluate[[]string](fmt.Sprintf(`lines(%q)`, kind)))
}

// Two pages, on either transport each, see each other come, type, say something and go.
// Promise: docs/delivery.md 9.2, 9.8.
func TestTwoPagesChatAndSeeEachOtherComeTypeAndGo(t *testing.T) {
	for _, of := range transports {
		other := transports[0]
		if of == other {
			other = transports[1]
		}
		t.Run(of+" with "+other, func(t *testing.T) {
			origin := serveChat(t)
			ada := enter(t, origin, of, "Ada")
			bo := enter(t, origin, other, "Bo")
			ada.await(`here().join() === "Ada (you),Bo" && lines("came").includes("Bo joined.")`)
			bo.await(`here().join() === "Bo (you),Ada"`)
			if came := bo.lines("came"); len(came) != 1 {
				t.Errorf("whoever comes is told %q; those who were there before have not come", came)
			}

			bo.write("text", "hello, Ada")
			ada.await(`typed.includes("Bo is typing …")`)
			bo.click("say")
			ada.await(`messages().join() === "1|Bo|hello, Ada|other" && document.querySelector('[data-testid="typing"]').textContent === ""`)
			bo.await(`messages().join() === "1|Bo|hello, Ada|own"`)
			ada.write("text", "hello, Bo")
			bo.await(`typed.includes("Ada is typing …")`)
			screenshot(t, bo.tab, "chat-"+other+"-typing")
			ada.click("say")
			for _, p := range []*chatPage{ada, bo} {
				p.await(`messages().length === 2 && messages()[1].startsWith("2|Ada|hello, Bo|")`)
			}
			if typed := ask(t, bo.tab, chromedp.Evaluate[bool](`typed.some(text => text.includes("Bo"))`)); typed {
				t.Error("a page is told of its own typing")
			}
			screenshot(t, ada.tab, "chat-"+of)

			bo.click("leave")
			ada.await(`here().join() === "Ada (you)" && lines("went").join() === "Bo left."`)
		})
	}
}

// A page that is cut, and comes back with its cursor in time, was never gone for the others, and has missed nothing.
// Promise: docs/delivery.md 9.3.
func TestAPageThatIsCutAndResumesInTimeDoesNotLeaveForTheOthers(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			origin := serveChat(t, "--grace", "1h")
			ada := enter(t, origin, transport, "Ada")
			bo := enter(t, origin, "ws", "Bo")
			ada.await(`here().length === 2`)
			ada.click("cut")
			bo.write("text", "are you there?")
			bo.click("say")
			bo.await(`messages().length === 1`)
			screenshot(t, ada.tab, "chat-"+transport+"-cut")
			ada.click("resume")
			ada.await(`lines("resumed").length === 1 && messages().join() === "1|Bo|are you there?|other" && here().length === 2`)
			screenshot(t, ada.tab, "chat-"+transport+"-resumed")
			ada.write("text", "yes")
			ada.click("say")
			bo.await(`messages()[1] === "2|Ada|yes|other"`)
			for _, kind := range []string{"came", "went", "renamed"} {
				if lines := bo.lines(kind); kind != "came" && len(lines) > 0 || kind == "came" && len(lines) != 1 {
					t.Errorf("the other page says %q", lines)
				}
			}
		})
	}
}

// A page that is closed or navigated away from says that it is done, so that the others need not wait for it
// (docs/protocol.md 12.11).
func TestAPageThatIsLeftLeavesAtOnce(t *testing.T) {
	origin := serveChat(t, "--grace", "1h")
	ada := enter(t, origin, "ws", "Ada")
	bo := enter(t, origin, "sse", "Bo")
	ada.await(`here().length === 2`)
	do(t, ada.tab, chromedp.Navigate("about:blank"))
	bo.await(`lines("went").join() === "Ada left." && here().join() === "Bo (you)"`)
}

// Another name is an update of the member: nobody leaves or joins, and what is said goes on under the new one
// (docs/protocol.md 12.2).
func TestAChangeOfNameIsAnUpdateForTheOthers(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			origin := serveChat(t)
			ada := enter(t, origin, transport, "Ada")
			bo := enter(t, origin, "ws", "Bo")
			ada.await(`here().length === 2`)
			ada.write("name", "Countess")
			ada.click("rename")
			for _, p := range []*chatPage{ada, bo} {
				p.await(`lines("renamed").join() === "Ada is now Countess."`)
			}
			ada.await(`here().join() === "Countess (you),Bo"`)
			bo.await(`here().join() === "Bo (you),Countess"`)
			ada.write("text", "it is I")
			ada.click("say")
			bo.await(`messages().join() === "1|Countess|it is I|other"`)
			if went := bo.lines("went"); len(went) > 0 {
				t.Errorf("the other page says %q", went)
			}
		})
	}
}

// Whoever comes back too late has left for the others. The page says so, and joins again by itself (docs/protocol.md 12.9).
// Promise: docs/delivery.md 9.1.
func TestAPageThatComesBackTooLateJoinsAgainByItself(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			origin := serveChat(t, "--grace", "1ms")
			ada := enter(t, origin, transport, "Ada")
			bo := enter(t, origin, "ws", "Bo")
			ada.await(`here().length === 2`)
			bo.await(`here().length === 2`)
			ada.click("cut")
			bo.await(`lines("went").join() === "Ada left." && here().join() === "Bo (you)"`)
			ada.click("resume")
			bo.await(`lines("came").at(-1) === "Ada joined." && here().join() === "Bo (you),Ada"`)
			ada.await(`lines("went").length === 1 && lines("came").at(-1) === "You joined as Ada." && here().join() === "Ada (you),Bo"`)
			if stayed := ada.lines("resumed"); len(stayed) > 0 {
				t.Errorf("the page says %q, and had left", stayed)
			}
			ada.write("text", "back")
			ada.click("say")
			bo.await(`messages().join() === "1|Ada|back|other"`)
		})
	}
}

// Of a room with too many members the panel has the numbers, and again everyone when there are few.
// Promise: docs/delivery.md 9.7.
func TestAPanelOfTooManyMembersShowsTheirNumber(t *testing.T) {
	origin := serveChat(t, "--max-listed-members", "2")
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			ada := enter(t, origin, transport, "Ada")
			const note = `document.querySelector('[data-testid="members-note"]').textContent`
			ask(t, ada.tab, chromedp.Evaluate[any](`window.others = [1, 2, 3].map(() => new WebSocket("ws://" + location.host + "/v1/ws?join=chat:lobby"))`))
			ada.await(`here().length === 0 && %s === "Too many to be listed: 4 sessions."`, note)
			if can := ask(t, ada.tab, chromedp.Evaluate[bool](`!document.querySelector('[data-testid="rename"]').disabled`)); can {
				t.Error("a name that did not change can be changed")
			}
			screenshot(t, ada.tab, "chat-many")
			ask(t, ada.tab, chromedp.Evaluate[any](`others.forEach(o => o.close(1000))`))
			ada.await(`here().join() === "Ada (you)" && %s === ""`, note)
			ada.click("leave")
			ada.await(`here().length === 0`)
		})
	}
}
