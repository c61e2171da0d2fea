package gatewaytest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Peer is the other end of a session on a Wire or LeadWire: it reads what it is told, keeps the books, and notes whatever
// breaks the promise. Its goroutine ends with the connection. All methods may be called concurrently.
type Peer struct {
	*Pipe
	Session *gateway.Session // set by Connect

	done chan struct{} // closed when everything was read

	mu     sync.Mutex
	books  *ledger
	lines  []Line
	cursor string
	lead   bool
	pongs  bool
	bytes  int
	faults []error
	pace   time.Duration
	chunk  int
}

// Seat is a place for a peer.
type Seat struct {
	Broker  *Broker
	Gateway *gateway.Gateway
	Wire    *gateway.Wire
	Bytes   int    // that the connection holds; default 64 KiB
	OnTry   func() // see NewPipe
	Stalled bool   // the peer does not read until Flow

	Answers bool // the peer answers pings

	// Pace, if set, makes the peer read at most Chunk bytes each.
	Pace  time.Duration
	Chunk int
}

// Dial opens a session, whenever its turn comes, and returns its peer.
func (s Seat) Dial(o gateway.Opening) (*Peer, error) {
	if s.Bytes == 0 {
		s.Bytes = 64 << 10
	}
	p := &Peer{
		Pipe: NewPipe(s.Bytes, s.OnTry), done: make(chan struct{}), books: newLedger(s.Broker),
		lead: s.Wire.AppendLead != nil, pongs: s.Answers, pace: s.Pace, chunk: s.Chunk,
	}
	p.books.expect(o)
	if s.Stalled {
		p.Stall()
	}
	session, err := s.Gateway.Open(context.Background(), o, s.Wire, p.Pipe)
	if err != nil {
		return nil, err
	}
	p.Session = session
	go p.listen()
	return p, nil
}

// Connect is Dial for a test that expects it to succeed.
func (s Seat) Connect(t testing.TB, o gateway.Opening) *Peer {
	t.Helper()
	p, err := s.Dial(o)
	if err != nil {
		t.Fatalf("open a session: %v", err)
	}
	return p
}

// listen reads until the connection ends.
func (p *Peer) listen() {
	defer close(p.done)
	defer p.Session.Gone()
	r := bufio.NewReader(paced{p})
	var others, cursor []byte
	for {
		text, err := r.ReadBytes('\n')
		if err != nil {
			if len(text) > 0 && errors.Is(err, io.EOF) {
				p.fault(fmt.Errorf("the connection was closed within a line: %q", text))
			}
			return
		}
		p.mu.Lock()
		p.bytes += len(text)
		p.mu.Unlock()
		text = bytes.TrimSuffix(text, []byte("\n"))
		if rest, ok := bytes.CutPrefix(text, []byte("others ")); ok {
			others = slices.Clone(rest)
			continue
		}
		if rest, ok := bytes.CutPrefix(text, []byte("cursor ")); ok {
			cursor = slices.Clone(rest)
			continue
		}
		line, err := parse(text)
		if err != nil {
			p.fault(err)
			continue
		}
		if line.Ping && p.pongs {
			p.Session.Heard()
		}
		p.note(line, string(others), string(cursor))
		others, cursor = nil, nil
	}
}

// paced reads at the peer's pace.
type paced struct{ peer *Peer }

func (r paced) Read(b []byte) (int, error) {
	if r.peer.pace == 0 {
		return r.peer.Pipe.Read(b)
	}
	<-time.After(r.peer.pace)
	return r.peer.Pipe.Read(b[:min(len(b), r.peer.chunk)])
}

func (p *Peer) note(line Line, others, cursor string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.books.note(line); err != nil {
		p.faults = append(p.faults, err)
	}
	_, advanced := line.Frame.(*gateway.Advanced)
	_, members := line.Frame.(*gateway.MemberChanges)
	shared := line.Event != nil || line.Gap != nil || advanced
	switch {
	case members: // which do not move it
	case !p.lead:
		p.cursor = p.books.cursor()
	case shared && others == "", !shared && line.Frame != nil && cursor == "":
		p.faults = append(p.faults, fmt.Errorf("%s came without a cursor", line))
	case shared:
		p.cursor = others + "," + string(millrace.AppendPiece(nil, line.piece()))
	case line.Frame != nil:
		p.cursor = cursor
	}
	if p.lead && !line.Ping && !line.Closed {
		if err := p.books.check(p.cursor); err != nil {
			p.faults = append(p.faults, fmt.Errorf("after %s: %w", line, err))
		}
	}
	line.Cursor = p.cursor
	p.lines = append(p.lines, line)
}

// piece is the piece of a cursor that the shared bytes of a line carry. In class ephemeral it has no position.
func (l Line) piece() millrace.Piece {
	switch f, advanced := l.Frame.(*gateway.Advanced); {
	case advanced:
		return millrace.Piece{Topic: f.Topic, Position: f.Position, Attached: true}
	case l.Gap != nil:
		return millrace.Piece{Topic: l.Gap.Topic, Position: l.Gap.Until, Attached: l.Gap.After != l.Gap.Until}
	}
	return millrace.Piece{Topic: l.Event.Topic, Position: l.Event.Position, Attached: !l.Event.Position.IsZero()}
}

func (p *Peer) fault(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, err)
}

// Lines returns what the peer was told so far.
func (p *Peer) Lines() []Line {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.lines)
}

// Frames returns the frames of one kind that the peer was told so far.
func Frames[F gateway.Frame](p *Peer) []F {
	var frames []F
	for _, l := range p.Lines() {
		if f, ok := l.Frame.(*F); ok {
			frames = append(frames, *f)
		}
	}
	return frames
}

// Texts returns the data of the topic's events that the peer was told so far.
func (p *Peer) Texts(topic string) []string {
	var texts []string
	for _, l := range p.Lines() {
		if l.Event != nil && l.Event.Topic == topic {
			texts = append(texts, string(l.Event.Data))
		}
	}
	return texts
}

// Gaps returns the topic's gaps that the peer was told so far.
func (p *Peer) Gaps(topic string) []millrace.Gap {
	var gaps []millrace.Gap
	for _, l := range p.Lines() {
		if l.Gap != nil && l.Gap.Topic == topic {
			gaps = append(gaps, *l.Gap)
		}
	}
	return gaps
}

// Cursor returns the peer's cursor: on a LeadWire the last that it was told, else the one that it keeps itself.
func (p *Peer) Cursor() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cursor
}

// Position returns where the peer is in a topic, and false if it is not attached to it.
func (p *Peer) Position(topic string) (millrace.Position, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.books.places[topic]
	return at.pos, at.attached
}

// Topics returns the topics that the peer was told to have, or to get once the broker is back.
func (p *Peer) Topics() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(p.books.places)), func(name string) bool { return !millrace.Pattern(name).IsTopic() })
}

// Received returns how many bytes the peer read.
func (p *Peer) Received() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// Over returns a channel that is closed when the peer read everything that it will.
func (p *Peer) Over() <-chan struct{} { return p.done }

// End returns the error that the session's last words told, and whether there were any.
func (p *Peer) End() (*millrace.Error, bool) {
	lines := p.Lines()
	if len(lines) == 0 || !lines[len(lines)-1].Closed {
		return nil, false
	}
	return lines[len(lines)-1].Close, true
}

// Check fails the test with every breach of the promise that the peer saw.
func (p *Peer) Check(t testing.TB) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.faults); n > 0 {
		t.Errorf("%d faults, the first of them: %v", n, p.faults[0])
	}
}

// CheckLast fails the test unless the peer has, or was told the loss of, all that passed in a topic of class ephemeral and
// is for it.
func (p *Peer) CheckLast(t testing.TB, topic string) {
	t.Helper()
	p.Check(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.books.places[topic]
	if !ok || at.class != millrace.ClassEphemeral {
		t.Errorf("the peer is not attached to %s", topic)
		return
	}
	missed := 0
	for _, e := range p.books.broker.passed(topic, at.last+1, 0) {
		if p.books.isFor(e) {
			missed++
		}
	}
	if at.last > 0 && !at.unknown && at.lost < uint64(missed) {
		t.Errorf("the peer missed %d events of %s behind event %d and was told of %d", missed, topic, at.last, at.lost)
	}
}

// CheckHead fails the test unless the peer is attached to the topic and has all of it, told gaps aside.
func (p *Peer) CheckHead(t testing.TB, topic string) {
	t.Helper()
	p.Check(t)
	pos, attached := p.Position(topic)
	if head := p.books.broker.Head(topic); !attached || pos != head {
		t.Errorf("the peer is at %s of %s (attached: %v); the head is %s", pos, topic, attached, head)
	}
}
