package brokertest

import (
	"fmt"
	"math/rand/v2"

	"github.com/millrace-dev/millrace"
)

func (c crowd) pages() {
	chance := rand.New(rand.NewPCG(3, 4))
	l := c.begin("h")
	steady := map[string]bool{}
	for i := range 600 {
		c.must(l, join("a", member(sessionName(i), "")))
		if i%7 == 0 {
			steady[sessionName(i)] = true
		}
	}
	fresh := 600
	for _, limit := range []int{1, 7, 100, 1000} {
		seen, most := map[string]int{}, fresh+200 // or those who come would outrun a small page
		for r := (millrace.MemberRange{Limit: limit}); ; {
			page := c.page("a", r)
			if len(page.Members) > limit || len(page.Members) == 0 && page.Next != "" {
				c.Fatalf("%d members on a page of %d, next %q", len(page.Members), limit, page.Next)
			}
			for _, m := range page.Members {
				seen[m.Session]++
			}
			if r.Page = page.Next; r.Page == "" {
				break
			}
			for range chance.IntN(20) {
				// Who is at the end of a page goes too, and who has gone comes back as somebody who is new.
				if session := sessionName(chance.IntN(fresh)); !steady[session] {
					c.must(l, leave("a", session, "asked"))
				}
				if fresh < most && chance.IntN(3) == 0 {
					c.must(l, join("a", member(sessionName(fresh), "")))
					fresh++
				}
			}
			if last := page.Members[len(page.Members)-1].Session; !steady[last] && chance.IntN(2) == 0 {
				c.must(l, leave("a", last, "asked"))
			}
		}
		for session := range steady {
			if seen[session] != 1 {
				c.Fatalf("with pages of %d, %s who was there all the time is on %d of them", limit, session, seen[session])
			}
		}
		for session, times := range seen {
			if times > 1 {
				c.Fatalf("with pages of %d, %s is on %d of them", limit, session, times)
			}
		}
	}
	c.audit("a")
}

func (c crowd) ranges() {
	l := c.begin("h")
	if page := c.page("a", millrace.MemberRange{}); len(page.Members) > 0 || page.Next != "" || page.Count != 0 || !page.AsOf.IsZero() {
		c.Fatalf("the members of a topic that never had any are %+v", page)
	}
	for i := range 5 {
		c.must(l, join("a", member(sessionName(i), fmt.Sprint(i%2))))
	}
	for limit, want := range map[int]int{-1: 0, 0: 5, 2: 2, 5: 5, 6: 5} {
		page := c.page("a", millrace.MemberRange{Limit: limit})
		if len(page.Members) != want || (page.Next != "") != (limit == 2) || page.Count != 5 || page.Subjects != 2 || page.AsOf.Offset != 6 {
			c.Fatalf("with a limit of %d the page is %+v", limit, page)
		}
	}
	first := c.page("a", millrace.MemberRange{Limit: 2})
	first.Members[0] = millrace.Member{} // the slice is the caller's
	for _, m := range c.page("a", millrace.MemberRange{Limit: 2}).Members {
		if m.Session == "" {
			c.Fatal("a page shares its members with another")
		}
	}
	for _, wrong := range []string{"x", "-", "1", "7-7", first.Next + "0", first.Next + " "} {
		_, err := c.Roster.Members(c.Context(), "a", millrace.MemberRange{Page: wrong})
		c.refused(err, millrace.ReasonBadRequest)
	}
	for i := range 5 {
		c.must(l, leave("a", sessionName(i), "asked"))
	}
	if page := c.page("a", millrace.MemberRange{Page: first.Next}); len(page.Members) > 0 || page.Next != "" || page.AsOf.Offset != 12 {
		c.Fatalf("of a topic whose members have left the page is %+v", page)
	}
}

// asOf reads a list in pages, one at each of some changes, and applies the events after the first page.
func (c crowd) asOf() {
	chance := rand.New(rand.NewPCG(5, 6))
	l := c.begin("h")
	step := func() {
		session := sessionName(chance.IntN(12))
		change := join("a", member(session, session[:2]))
		switch chance.IntN(4) {
		case 0:
			change = leave("a", session, "asked")
		case 1:
			change.Member.Data = fmt.Append(nil, chance.IntN(3))
		}
		c.must(l, change)
	}
	for range 200 {
		var list *Fold
		for r := (millrace.MemberRange{Limit: 1 + chance.IntN(5)}); ; {
			page := c.page("a", r)
			if list == nil {
				list = NewFold("a")
				list.At = page.AsOf
			}
			for _, m := range page.Members {
				list.Members[m.Session] = m
			}
			if r.Page = page.Next; r.Page == "" {
				break
			}
			step()
		}
		for range chance.IntN(4) {
			step()
		}
		for _, e := range c.told("a", list.At) {
			m, err := millrace.ParseMemberEvent(e)
			if err != nil {
				c.Fatal(err)
			}
			list.merge(e, &m)
		}
		now, last := c.list("a")
		if err := list.Differs(now); err != nil || list.At != last.AsOf {
			c.Fatalf("as of %s and the events after it: %v; the list is of %s", list.At, err, last.AsOf)
		}
	}
	c.audit("a")
}
