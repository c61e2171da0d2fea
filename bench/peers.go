package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// peers is many subscribers in one thread: an epoll loop that reads, cuts frames and checks offsets.
type peers struct {
	epoll int
	conns map[int32]*peer
	files []net.Conn

	subscribed atomic.Uint64 // topics of all peers
	deliveries atomic.Uint64
	bytes      atomic.Uint64
	faults     atomic.Uint64
	stopping   atomic.Bool
	done       sync.WaitGroup
	closing    sync.Once

	timing   atomic.Bool // note when events come that say when they were published
	arrivals []arrival   // written by read, until close

	audience *audience // static; what hears of members frames, or nil
}

// arrival is an event that said when it was published.
type arrival struct {
	sent    time.Duration // since born
	latency time.Duration
}

type peer struct {
	rest  []byte // of a frame that is not whole yet
	next  uint64 // offset that must come next; 0: any
	told  bool   // of members, with the audience
	count int    // then: how many there were
}

// connect opens n connections, from addresses spread over 127.0.0.x, each with its handshake if path is set.
func connect(addr, path string, n int) (*peers, error) {
	return connectEach(nil, addr, slices.Repeat([]string{path}, n))
}

// connectEach is connect for peers with paths of their own, and for an audience.
func connectEach(a *audience, addr string, paths []string) (*peers, error) {
	epoll, err := syscall.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	p := &peers{epoll: epoll, conns: map[int32]*peer{}, audience: a}
	for i, path := range paths {
		if err := p.add(addr, path, byte(2+i%200)); err != nil {
			p.close()
			return nil, fmt.Errorf("connect peer %d: %w", i, err)
		}
	}
	p.done.Go(p.read)
	return p, nil
}

func (p *peers) add(addr, path string, host byte) error {
	c, err := dial(addr, host, nil)
	if err != nil {
		return err
	}
	p.files = append(p.files, c)
	state := &peer{}
	if path != "" {
		if state.rest, err = shakeHands(c, addr, path); err != nil {
			return err
		}
		p.take(state, nil)
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	var ctl error
	err = raw.Control(func(fd uintptr) {
		p.conns[int32(fd)] = state
		ctl = syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
	})
	if err != nil {
		return err
	}
	return ctl
}

// dial connects from 127.0.0.host.
func dial(addr string, host byte, control func(network, address string, c syscall.RawConn) error) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}, Timeout: 10 * time.Second, Control: control}
	return d.Dial("tcp", addr)
}

// shakeHands opens a WebSocket and returns what came behind the handshake.
func shakeHands(c net.Conn, addr, path string) (rest []byte, err error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, addr); err != nil {
		return nil, err
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake answered %s", resp.Status)
	}
	return r.Peek(r.Buffered())
}

func (p *peers) read() {
	events := make([]syscall.EpollEvent, 256)
	buf := make([]byte, 256<<10)
	for !p.stopping.Load() {
		n, err := syscall.EpollWait(p.epoll, events, 50)
		if err != nil && err != syscall.EINTR {
			return
		}
		for _, ev := range events[:max(n, 0)] {
			fd := ev.Fd
			m, err := syscall.Read(int(fd), buf)
			if err == syscall.EAGAIN || err == syscall.EINTR {
				continue
			}
			if m <= 0 {
				if !p.stopping.Load() {
					p.faults.Add(1)
				}
				syscall.EpollCtl(p.epoll, syscall.EPOLL_CTL_DEL, int(fd), nil)
				continue
			}
			p.take(p.conns[fd], buf[:m])
		}
	}
}

// take cuts what came into WebSocket frames and counts the events among them.
func (p *peers) take(c *peer, b []byte) {
	if len(c.rest) > 0 {
		c.rest = append(c.rest, b...)
		b = c.rest
	}
	for {
		size := frameSize(b)
		if size == 0 || size > len(b) {
			break
		}
		p.event(c, b[:size])
		b = b[size:]
	}
	c.rest = append(c.rest[:0], b...)
}

var offsetKey = []byte(`"offset":"`)

func (p *peers) event(c *peer, frame []byte) {
	head := frame[:min(len(frame), 24)]
	if bytes.Contains(head, []byte(`{"subscribed"`)) {
		p.subscribed.Add(1)
	}
	if p.audience != nil && bytes.Contains(head, []byte(`{"members"`)) {
		p.audience.take(c, frame)
		return
	}
	if !bytes.Contains(head, []byte(`{"event"`)) {
		return
	}
	_, rest, _ := bytes.Cut(frame, offsetKey)
	digits, _, _ := bytes.Cut(rest, []byte(`"`))
	offset, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || c.next != 0 && offset != c.next {
		p.faults.Add(1)
	}
	c.next = offset + 1
	p.deliveries.Add(1)
	p.bytes.Add(uint64(len(frame)))
	if p.timing.Load() {
		p.time(frame)
	}
}

// born is what published events count their time from: this process's own clock, which does not jump.
var born = time.Now()

var sentKey = []byte(`{"sentNs":`)

// time notes how long an event was on its way, if it says so.
func (p *peers) time(frame []byte) {
	now := time.Since(born)
	_, rest, found := bytes.Cut(frame, sentKey)
	if !found {
		return
	}
	digits, _, _ := bytes.Cut(rest, []byte(`,`))
	sent, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		p.faults.Add(1)
		return
	}
	p.arrivals = append(p.arrivals, arrival{sent: time.Duration(sent), latency: now - time.Duration(sent)})
}

// frameSize returns the size of the first frame in b with its header, 0 if the header is not whole.
func frameSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch n := int(b[1] & 0x7f); {
	case n < 126:
		return 2 + n
	case n == 126 && len(b) >= 4:
		return 4 + int(binary.BigEndian.Uint16(b[2:]))
	case n == 127 && len(b) >= 10:
		return 10 + int(binary.BigEndian.Uint64(b[2:]))
	}
	return 0
}

// await waits until so many events were received in all.
func (p *peers) await(deliveries uint64) error {
	return await("events came", &p.deliveries, deliveries)
}

// awaitSubscribed waits until so many subscriptions were told.
func (p *peers) awaitSubscribed(topics uint64) error {
	return await("subscriptions were told", &p.subscribed, topics)
}

func await(what string, have *atomic.Uint64, want uint64) error {
	for deadline := time.Now().Add(10 * time.Second); have.Load() < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d %s of %d", have.Load(), what, want)
		}
	}
	return nil
}

// close ends the connections, and all that is written about them. It may be called more than once.
func (p *peers) close() {
	p.closing.Do(func() {
		p.stopping.Store(true)
		p.done.Wait()
		for _, c := range p.files {
			c.Close()
		}
		syscall.Close(p.epoll)
	})
}
