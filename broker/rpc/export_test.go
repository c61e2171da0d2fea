package rpc

import millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"

// Window returns how many events like m a stream takes ahead of their acks.
func Window(c Config, m *millracev1.NewEvent) int {
	q := newPostings(&c)
	batch := []posting{{event: m}}
	n := 0
	for q.TryPut(batch) {
		n++
	}
	return n
}
