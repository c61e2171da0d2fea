package ledger

import (
	"cmp"
	"slices"

	"github.com/millrace-dev/millrace"
)

// lineage is what is known of one log of a topic, from its birth to its loss.
type lineage struct {
	since, until uint32            // epochs between which it is; equal if it is known
	at           map[uint64]*entry // by offset
	top          uint64            // highest offset
	spare        []*entry          // entries whose offset another one has
	newest       map[string]uint64 // offset of the newest event of each key; nil until it is needed
	maybe        map[string]bool   // keys of which there may have been events that nobody was told of; with newest
}

// forest is the lineages of a topic.
type forest struct {
	page    *page
	entries []*entry // in the order of offsets
	nodes   map[uint64]int
	parent  []int
	since   []uint32 // of a root
	until   []uint32 // of a root
	of      map[int]*lineage
	all     []*lineage
	again   [][]*entry          // see restored
	acked   []*intent           // see passed
	untold  map[*lineage]uint64 // see unknown
}

// grow finds the lineages of a topic. Whoever was given an event after another than the one that it follows on is told
// to astray. pg.mu is held.
func (pg *page) grow(astray func(by *Chain, e *entry, prev uint64)) *forest {
	f := &forest{page: pg, nodes: map[uint64]int{}, of: map[int]*lineage{}}
	for _, e := range pg.entries {
		f.entries = append(f.entries, e)
	}
	slices.SortFunc(f.entries, func(a, b *entry) int {
		return cmp.Or(cmp.Compare(a.at.Offset, b.at.Offset), cmp.Compare(a.at.Mark, b.at.Mark))
	})
	for _, e := range f.entries {
		f.node(e.at.Mark, e.since, e.until)
	}
	f.settle(astray)
	for _, e := range f.entries {
		if e.prev != 0 && e.sure {
			f.join(e, e.prev)
		}
	}
	for _, e := range f.entries {
		if e.prev == 0 || e.sure {
			continue
		}
		if !f.fits(e, e.prev) {
			astray(e.claimant, e, e.prev)
			continue
		}
		f.join(e, e.prev)
	}
	f.gather()
	return f
}

// settle tells who made claims that are not true, or can't all be.
func (f *forest) settle(astray func(by *Chain, e *entry, prev uint64)) {
	for _, c := range f.page.claims {
		e := f.page.entries[c.mark]
		switch {
		case c.prev == e.prev:
		case !e.sure && !f.fits(e, e.prev) && f.fits(e, c.prev):
			astray(e.claimant, e, e.prev)
			e.prev, e.claimant = c.prev, c.by
		default:
			astray(c.by, e, c.prev)
		}
	}
}

func (f *forest) node(mark uint64, since, until uint32) int {
	i, ok := f.nodes[mark]
	if !ok {
		i = len(f.parent)
		f.nodes[mark] = i
		f.parent = append(f.parent, i)
		f.since = append(f.since, since)
		f.until = append(f.until, until)
	}
	return i
}

func (f *forest) root(i int) int {
	for f.parent[i] != i {
		f.parent[i] = f.parent[f.parent[i]]
		i = f.parent[i]
	}
	return i
}

// fits reports whether an entry may follow on a mark, by where and when both were stored.
func (f *forest) fits(e *entry, prev uint64) bool {
	if p := f.page.entries[prev]; p != nil && p.at.Offset+1 != e.at.Offset {
		return false
	}
	i, ok := f.nodes[prev]
	if !ok {
		return true
	}
	a, b := f.root(i), f.root(f.nodes[e.at.Mark])
	return f.since[a] <= f.until[b] && f.since[b] <= f.until[a]
}

// join makes an entry and the mark before it of one lineage.
func (f *forest) join(e *entry, prev uint64) {
	a, b := f.root(f.node(prev, 0, e.until)), f.root(f.nodes[e.at.Mark])
	if a == b {
		return
	}
	f.parent[a] = b
	f.since[b], f.until[b] = max(f.since[a], f.since[b]), min(f.until[a], f.until[b])
	if f.since[b] > f.until[b] {
		// The log was said to be lost, and was not: that is no breach of anything.
		f.since[b], f.until[b] = f.until[b], f.since[b]
	}
}

// gather makes lineages of what is joined, and of what is known to be of the same epoch.
func (f *forest) gather() {
	epochs := map[uint32]*lineage{}
	for _, e := range f.entries {
		root := f.root(f.nodes[e.at.Mark])
		l := f.of[root]
		if l == nil {
			since, until := f.since[root], f.until[root]
			if since == until {
				l = epochs[since]
			}
			if l == nil {
				l = &lineage{since: since, until: until, at: map[uint64]*entry{}}
				f.all = append(f.all, l)
				if since == until {
					epochs[since] = l
				}
			}
			f.of[root] = l
		}
		l.add(e)
	}
}

// add enters an entry. Of two at one offset, the one that something follows on or that was seen is the one that counts.
func (l *lineage) add(e *entry) {
	l.top = max(l.top, e.at.Offset)
	other := l.at[e.at.Offset]
	switch {
	case other == nil:
		l.at[e.at.Offset] = e
	case e.seen && !other.seen:
		l.at[e.at.Offset] = e
		l.spare = append(l.spare, other)
	default:
		l.spare = append(l.spare, e)
	}
}

// lineage returns the lineage of a position; nil if it is that of no log, or not known.
func (f *forest) lineage(p millrace.Position) *lineage {
	i, ok := f.nodes[p.Mark]
	if !ok {
		return nil
	}
	return f.of[f.root(i)]
}

// apart reports whether two lineages are surely not the same.
func apart(a, b *lineage) bool {
	return a != nil && b != nil && a != b && (a.until < b.since || b.until < a.since)
}
