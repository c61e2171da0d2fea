package main_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// guest is a peer that is a member of topics, as a page written by hand would be one: it keeps its cursor, adds up what it
// is told of members, and joins again where it is told that a membership ended while it was away.
type guest struct {
	t    *testing.T
	name string

	// Protected by mu.
	mu      sync.Mutex
	conn    *websocket.Conn
	down    chan struct{} // closed when the connection has ended
	session string
	prefix  string
	pieces  map[string]string
	want    map[string]string            // what it shows of itself, by the topic that it is a member of by its own will
	unsure  map[string]bool              // topics of which the last answer was lost with the connection
	views   map[string]map[string]string // by topic and session, as the members frames add up
	counts  map[string]int               // by topic, as the last members frame says
	waiting map[uint32]chan guestFrame
	last    uint32
	faults  []string
	trace   []string // what was said, both ways
}

// guestFrame is the JSON of a server frame, as far as a guest looks.
type guestFrame struct {
	Re        uint32 `json:"re"`
	Connected *struct {
		Session string `json:"session"`
		Cursor  string `json:"cursor"`
		Resumed bool   `json:"resumed"`
	} `json:"connected"`
	Subscribed   *guestPlace   `json:"subscribed"`
	Unsubscribed *guestPlace   `json:"unsubscribed"`
	Event        *guestPlace   `json:"event"`
	Advanced     *guestPlace   `json:"advanced"`
	Gap          *guestGap     `json:"gap"`
	Joined       *guestJoined  `json:"joined"`
	Left         *guestPlace   `json:"left"`
	Members      *guestMembers `json:"members"`
	Error        *wireError    `json:"error"`
}

type guestPlace struct {
	Topic    string        `json:"topic"`
	Position *wirePosition `json:"position"`
	Cursor   string        `json:"cursor"`
	Error    *wireError    `json:"error"`
}

type guestJoined struct {
	guestPlace

	Member guestMember `json:"member"`
}

type guestGap struct {
	Topic string       `json:"topic"`
	Until wirePosition `json:"until"`
}

type guestMember struct {
	Session string          `json:"session"`
	Subject string          `json:"subject"`
	Data    json.RawMessage `json:"data"`
}

type guestMembers struct {
	Topic     string        `json:"topic"`
	Reset     bool          `json:"reset"`
	Joined    []guestMember `json:"joined"`
	Updated   []guestMember `json:"updated"`
	Left      []guestMember `json:"left"`
	Count     int           `json:"count"`
	CountOnly bool          `json:"countOnly"`
}

func newGuest(t *testing.T, name string) *guest {
	return &guest{
		t: t, name: name, pieces: map[string]string{}, want: map[string]string{}, unsure: map[string]bool{},
		views: map[string]map[string]string{}, counts: map[string]int{},
	}
}

// come connects to a gateway, with the cursor if there is one, and takes up again what the guest wants.
func (g *guest) come(addr string) error {
	query := url.Values{"cursor": {g.cursor()}}
	if query.Get("cursor") == "" {
		query = url.Values{}
	}
	g.note("comes to " + addr + " with " + query.Encode())
	conn, resp, err := websocket.DefaultDialer.Dial("ws://"+addr+"/v1/ws?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	g.mu.Lock()
	g.conn, g.down, g.waiting = conn, make(chan struct{}), map[uint32]chan guestFrame{}
	down := g.down
	g.mu.Unlock()
	connected := make(chan struct{})
	go g.read(conn, down, sync.OnceFunc(func() { close(connected) }))
	select {
	case <-connected:
		g.makeSure()
		return nil
	case <-down:
		return fmt.Errorf("%s was turned away", g.name)
	}
}

// makeSure repeats what the guest does not know to be done.
func (g *guest) makeSure() {
	g.mu.Lock()
	unsure, want := slices.Collect(maps.Keys(g.unsure)), maps.Clone(g.want)
	g.mu.Unlock()
	for _, topic := range unsure {
		data, joined := want[topic]
		if joined {
			g.join(topic, data)
		} else {
			g.leave(topic)
		}
	}
}

func (g *guest) cursor() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.prefix == "" {
		return ""
	}
	return strings.Join(append([]string{g.prefix}, slices.Sorted(maps.Values(g.pieces))...), ",")
}

// connected reports whether the guest has a connection.
func (g *guest) connected() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		return false
	}
	select {
	case <-g.down:
		return false
	default:
		return true
	}
}

// cut breaks the connection, as a network does.
func (g *guest) cut() {
	g.mu.Lock()
	conn, down := g.conn, g.down
	g.mu.Unlock()
	if conn == nil {
		return
	}
	g.note("is cut")
	conn.NetConn().Close()
	<-down
}

// close ends the session.
func (g *guest) close() {
	g.mu.Lock()
	conn, down := g.conn, g.down
	g.mu.Unlock()
	_ = conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(patience)) // it may be cut already
	<-down
}

func (g *guest) read(conn *websocket.Conn, down chan struct{}, connected func()) {
	defer close(down)
	defer conn.Close()
	for {
		_, b, err := conn.ReadMessage()
		if err != nil {
			return
		}
		var f guestFrame
		g.note("< " + string(b))
		if err := json.Unmarshal(b, &f); err != nil {
			g.faultf("%s can't be read: %v", b, err)
			return
		}
		g.take(f)
		if f.Connected != nil {
			connected()
		}
	}
}

func (g *guest) note(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trace = append(g.trace, time.Now().Format("05.000 ")+line)
}

func (g *guest) faultf(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, g.name+": "+fmt.Sprintf(format, args...))
}

func (g *guest) take(f guestFrame) {
	g.mu.Lock()
	defer g.mu.Unlock()
	place := func(p *guestPlace) {
		if p == nil {
			return
		}
		if p.Cursor != "" {
			g.prefix = p.Cursor
		}
		if p.Position != nil {
			g.pieces[p.Topic] = fmt.Sprintf("%d-%d-%s", p.Position.Offset, p.Position.Mark, url.PathEscape(p.Topic))
		}
	}
	if c := f.Connected; c != nil {
		if c.Session != g.session {
			clear(g.views)
		}
		g.session, g.prefix = c.Session, c.Cursor
	}
	for _, p := range []*guestPlace{f.Subscribed, f.Event, f.Advanced, f.Left, f.Unsubscribed} {
		place(p)
	}
	if f.Joined != nil {
		place(&f.Joined.guestPlace)
	}
	if f.Gap != nil {
		place(&guestPlace{Topic: f.Gap.Topic, Position: &f.Gap.Until})
	}
	if f.Unsubscribed != nil {
		delete(g.pieces, f.Unsubscribed.Topic)
	}
	if f.Left != nil {
		delete(g.views, f.Left.Topic)
		g.unsure[f.Left.Topic] = true
		if data, wanted := g.want[f.Left.Topic]; wanted && f.Left.Error != nil {
			g.send(map[string]any{"join": map[string]any{"topic": f.Left.Topic, "data": json.RawMessage(data)}})
		}
	}
	if j := f.Joined; j != nil {
		switch data, wanted := g.want[j.Topic]; {
		case wanted && data == string(j.Member.Data):
			delete(g.unsure, j.Topic)
		case wanted && f.Re == 0: // what it shows is older than what it said: the broker and a gateway were lost together
			g.unsure[j.Topic] = true
			g.send(map[string]any{"join": map[string]any{"topic": j.Topic, "data": json.RawMessage(data)}})
		}
	}
	if f.Members != nil {
		g.addUp(f.Members)
	}
	if answered := g.waiting[f.Re]; answered != nil && f.Re != 0 {
		delete(g.waiting, f.Re)
		answered <- f
	}
}

// addUp applies a members frame to the guest's view. g.mu is held.
func (g *guest) addUp(m *guestMembers) {
	view := g.views[m.Topic]
	if m.Reset || view == nil {
		if !m.Reset {
			g.faults = append(g.faults, g.name+": the first members frame of "+m.Topic+" is no reset")
		}
		view = map[string]string{}
		g.views[m.Topic] = view
	}
	for _, one := range m.Joined {
		if _, there := view[one.Session]; there {
			g.faults = append(g.faults, g.name+": told twice that "+one.Session+" joined "+m.Topic)
		}
		view[one.Session] = string(one.Data)
	}
	for _, one := range m.Updated {
		if _, there := view[one.Session]; !there {
			g.faults = append(g.faults, g.name+": told of a change of "+one.Session+", who is not in "+m.Topic)
		}
		view[one.Session] = string(one.Data)
	}
	for _, one := range m.Left {
		if _, there := view[one.Session]; !there {
			g.faults = append(g.faults, g.name+": told that "+one.Session+" left "+m.Topic+", who was not in it")
		}
		delete(view, one.Session)
	}
	if !m.CountOnly && m.Count != len(view) {
		g.faults = append(g.faults, fmt.Sprintf("%s: %s has %d members by the count and %d by the list", g.name, m.Topic, m.Count, len(view)))
	}
	g.counts[m.Topic] = m.Count
}

// send sends a frame. g.mu is held.
func (g *guest) send(frame map[string]any) {
	b, err := json.Marshal(frame)
	if err != nil {
		g.faults = append(g.faults, err.Error())
		return
	}
	g.trace = append(g.trace, time.Now().Format("05.000 ")+"> "+string(b))
	_ = g.conn.WriteMessage(websocket.TextMessage, b) // a connection that is gone is found by its reader
}

// ask sends a command and waits for its answer; false if the connection ended before.
func (g *guest) ask(kind, topic string, body map[string]any) (guestFrame, bool) {
	g.mu.Lock()
	g.last++
	answered, down := make(chan guestFrame, 1), g.down
	g.waiting[g.last] = answered
	body["topic"] = topic
	g.unsure[topic] = true
	g.send(map[string]any{"id": g.last, kind: body})
	g.mu.Unlock()
	select {
	case f := <-answered:
		g.mu.Lock()
		delete(g.unsure, topic)
		g.mu.Unlock()
		return f, true
	case <-down:
		return guestFrame{}, false
	case <-time.After(patience):
		g.faultf("no answer to %s %s", kind, topic)
		return guestFrame{}, false
	}
}

// join makes the guest a member, and tries again while the broker is away.
func (g *guest) join(topic, data string) {
	g.mu.Lock()
	g.want[topic] = data
	g.mu.Unlock()
	g.insist("join", topic, map[string]any{"data": json.RawMessage(data)}, "")
}

// update changes what the guest shows of itself.
func (g *guest) update(topic, data string) {
	g.mu.Lock()
	g.want[topic] = data
	g.mu.Unlock()
	g.insist("update", topic, map[string]any{"data": json.RawMessage(data)}, "")
}

// leave ends a membership.
func (g *guest) leave(topic string) {
	g.mu.Lock()
	delete(g.want, topic)
	g.mu.Unlock()
	g.insist("leave", topic, map[string]any{}, "not_found")
}

// insist asks until there is an answer other than that the broker is away. One more answer is as good as done.
func (g *guest) insist(kind, topic string, body map[string]any, also string) {
	for {
		f, ok := g.ask(kind, topic, body)
		if !ok || f.Error == nil || f.Error.Reason == also {
			return
		}
		if r := f.Error.Reason; r != "unavailable" && r != "deadline" {
			g.faultf("%s %s is answered by %s", kind, topic, r)
			return
		}
	}
}
