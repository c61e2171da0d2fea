package roster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"sync"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway/internal/tail"
)

// Changes tells who came, changed and went in a topic. They are as the gateway's MemberChanges.
type Changes struct {
	Topic     string
	Reset     bool
	Joined    []millrace.Member
	Updated   []millrace.Member
	Left      []millrace.Member
	Count     int
	Subjects  int
	CountOnly bool
	AsOf      millrace.Position
}

// size is how many members the changes name.
func (c *Changes) size() int { return len(c.Joined) + len(c.Updated) + len(c.Left) }

// order puts those who joined earlier first. Nobody is promised that, but a list that is not shuffled is good to look at.
func (c *Changes) order() {
	for _, list := range [][]millrace.Member{c.Joined, c.Updated, c.Left} {
		slices.SortFunc(list, func(a, b millrace.Member) int {
			return cmp.Or(a.Joined.Compare(b.Joined), cmp.Compare(a.Session, b.Session))
		})
	}
}

// Text is changes with their bytes, which are the same for all who are told them. It may be used concurrently.
type Text struct {
	changes *Changes // static; immutable

	mu    sync.Mutex
	forms [tail.Forms][]byte // protected by mu
}

// Bytes returns the changes in a form, encoded at the first call. The bytes are immutable.
func (t *Text) Bytes(form int, encode func(*Changes) []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forms[form] == nil {
		t.forms[form] = encode(t.changes)
	}
	return t.forms[form]
}

// alone reports whether the changes can be told to anyone, whatever was told before.
func (t *Text) alone() bool { return t.changes.Reset || t.changes.CountOnly }

// merge makes one of changes that follow on each other, none of which stands alone.
func merge(texts []*Text) *Changes {
	type course struct {
		was bool // a member before the first of them
		is  bool // a member after the last
		now millrace.Member
	}
	courses := map[string]course{}
	note := func(list []millrace.Member, was, is bool) {
		for _, m := range list {
			c, known := courses[m.Session]
			if !known {
				c.was = was
			}
			c.is, c.now = is, m
			courses[m.Session] = c
		}
	}
	for _, t := range texts {
		note(t.changes.Joined, false, true)
		note(t.changes.Updated, true, true)
		note(t.changes.Left, true, false)
	}
	last := texts[len(texts)-1].changes
	merged := &Changes{Topic: last.Topic, Count: last.Count, Subjects: last.Subjects, AsOf: last.AsOf}
	for _, c := range courses {
		merged.tell(c.was, c.is, c.now)
	}
	merged.order()
	return merged
}

// tell adds what there is to say of a session that was a member or not, and is one or not.
func (c *Changes) tell(was, is bool, m millrace.Member) {
	switch {
	case was && is:
		c.Updated = append(c.Updated, m)
	case is:
		c.Joined = append(c.Joined, m)
	case was:
		m.Data = nil
		c.Left = append(c.Left, m)
	}
}

// apply makes of members what they are after the changes.
func (c *Changes) apply(members map[string]millrace.Member) map[string]millrace.Member {
	switch {
	case c.CountOnly:
		return nil
	case c.Reset:
		members = make(map[string]millrace.Member, len(c.Joined))
	}
	for _, list := range [][]millrace.Member{c.Joined, c.Updated} {
		for _, m := range list {
			members[m.Session] = m
		}
	}
	for _, m := range c.Left {
		delete(members, m.Session)
	}
	return members
}

// alike reports whether a member is as it was. What it shows of itself is the same JSON if only its form differs, as that of
// a page of members and of an event may.
func alike(a, b millrace.Member) bool {
	if a.Subject != b.Subject || !a.Joined.Equal(b.Joined) {
		return false
	}
	return bytes.Equal(a.Data, b.Data) || bytes.Equal(plain(a.Data), plain(b.Data))
}

// plain returns a JSON text as events carry it.
func plain(text []byte) []byte {
	b, err := json.Marshal(json.RawMessage(text))
	if err != nil {
		return text
	}
	return b
}

// list returns everyone as changes from nothing.
func list(members map[string]millrace.Member) []millrace.Member {
	return slices.AppendSeq(make([]millrace.Member, 0, len(members)), maps.Values(members))
}
