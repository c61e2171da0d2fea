package wsgateway

import (
	"bufio"
	"net"
	"net/http"
)

// muted is a connection to which its WebSocket reader can't write once the handshake is over: the session's loop is the
// only writer, or frames would be torn. That the reader tried is remembered, since it does so to complain of the peer.
type muted struct {
	net.Conn

	mute       bool // set between the handshake and the first read
	complained bool // for the reader's goroutine
}

// Write writes the answer to the handshake and, after that, nothing.
func (m *muted) Write(b []byte) (int, error) {
	if m.mute {
		m.complained = true
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// takeover hands the WebSocket library a muted connection in place of the server's.
type takeover struct {
	http.ResponseWriter

	conn *muted // once the connection was taken over
}

// Hijack implements http.Hijacker.
func (t *takeover) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(t.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	t.conn = &muted{Conn: conn}
	return t.conn, rw, nil
}
