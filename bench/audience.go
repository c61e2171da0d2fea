package main

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// audience is what many peers are told of the members of a topic.
type audience struct {
	mu   sync.Mutex
	told told        // protected by mu
	last map[int]int // protected by mu; how many peers were told of so many members last
}

// told is members frames of all peers together.
type told struct {
	lists, counts         int // frames with members, and those with their number alone
	listBytes, countBytes int
	largest               int // bytes of a frame
}

func newAudience() *audience { return &audience{last: map[int]int{}} }

var (
	countKey  = []byte(`"count":`)
	countOnly = []byte(`"countOnly":true`)
)

// take notes a frame.
func (a *audience) take(c *peer, frame []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	// What is sought stands behind the lists.
	tail := frame[max(len(frame)-200, 0):]
	count := -1 // which nobody waits for
	if at := bytes.LastIndex(tail, countKey); at >= 0 {
		digits, _, _ := bytes.Cut(tail[at+len(countKey):], []byte(`,`))
		if n, err := strconv.Atoi(string(digits)); err == nil {
			count = n
		}
	}
	if c.told {
		a.last[c.count]--
	}
	a.last[count]++
	c.told, c.count = true, count
	if bytes.Contains(tail, countOnly) {
		a.told.counts++
		a.told.countBytes += len(frame)
	} else {
		a.told.lists++
		a.told.listBytes += len(frame)
	}
	a.told.largest = max(a.told.largest, len(frame))
}

// await waits until so many peers were told last that there are so many members.
func (a *audience) await(peers, members int) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		if n := a.at(members); n == peers {
			return nil
		} else if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d that look on were told that there are %d members", n, peers, members)
		}
		time.Sleep(time.Millisecond)
	}
}

func (a *audience) at(members int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last[members]
}

// since returns what was told since the last call.
func (a *audience) since() told {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.told
	a.told = told{}
	return t
}
