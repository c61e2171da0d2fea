package gateway

import "github.com/millrace-dev/millrace"

// onlooker is one session that is told of the members of one topic. Its loop owns it.
type onlooker struct {
	session *Session
	topic   string
}

// lookOn begins to tell a session of a topic's members: first of all of them, then of what changes. It runs on the loop.
func (l *loop) lookOn(s *Session, topic string) (*onlooker, *millrace.Error) {
	return &onlooker{session: s, topic: topic}, nil
}

// end stops telling the session. It runs on the loop.
func (o *onlooker) end() {}
