package roster

import (
	"context"
	"time"

	"github.com/millrace-dev/millrace"
)

// reading is the members of a topic as they are read: all pages of them, or only the counts if there are too many.
type reading struct {
	// Static.
	list *List
	most int

	// What came of it.
	err       error
	torn      bool // the log was lost meanwhile, and with it perhaps the members
	countOnly bool
	members   []millrace.Member // a session may be there twice; the last counts
	count     int
	subjects  int
	from      millrace.Position // the events after this make of it the list
	until     millrace.Position // the list is one of a moment once those up to this are applied
}

// readTimeout bounds the read of one page, so that a broker which does not answer can't hold all reads for good.
const readTimeout = 30 * time.Second

func (r *reading) run(ctx context.Context, up Upstream) {
	asked := millrace.MemberRange{Limit: r.most + 1}
	for first := true; first || asked.Page != ""; first = false {
		page, err := r.page(ctx, up, asked)
		if err != nil {
			r.err = err
			return
		}
		if first {
			r.from = page.AsOf
		}
		if at := page.AsOf; at.Offset < r.from.Offset || at.Offset == r.from.Offset && at != r.from {
			r.torn = true
			return
		}
		r.until, r.count, r.subjects = page.AsOf, page.Count, page.Subjects
		if page.Count > r.most || len(r.members) > 2*r.most { // the latter if so many come and go
			r.countOnly, r.members, r.from = true, nil, page.AsOf
			return
		}
		r.members = append(r.members, page.Members...)
		asked.Page = page.Next
	}
}

func (r *reading) page(ctx context.Context, up Upstream, asked millrace.MemberRange) (millrace.MemberPage, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return up.Members(ctx, r.list.topic, asked)
}
