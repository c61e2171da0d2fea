package ledger

import (
	"fmt"

	"github.com/millrace-dev/millrace"
)

// missed judges a gap in class ephemeral.
func (j *judge) missed(i int, s *span) {
	switch {
	case s.cause == millrace.CauseSlow && s.n > 0:
	case s.cause == millrace.CauseReset && s.n == 0:
	default:
		j.violate(Untrue, 1, i, "nothing here can be the cause of such a gap")
	}
}

// visits judges what came in class ephemeral, connection by connection: none twice, those of a publisher in its order,
// and no more missing between the first and the last of a publisher than was counted.
func (j *judge) visits() {
	pg := j.forest.page
	for i := range j.chain.visits {
		v := &j.chain.visits[i]
		seen := map[Ident]bool{}
		first, last := map[uint32]uint32{}, map[uint32]uint32{}
		for _, id := range v.events {
			in := pg.intents[id]
			switch {
			case in == nil || in.Retried: // the former was told
				continue
			case seen[id]:
				j.violate(Repeated, 1, -1, describe(id)+" came again")
			case !j.bears(&in.Publication):
				j.violate(Untrue, 1, -1, describe(id)+" is not for the subscriber")
			case id.Serial < last[id.Publisher] && in.passed: // else it was given up and may be late
				j.violate(Reordered, 1, -1, fmt.Sprintf("%s came after event %d", describe(id), last[id.Publisher]))
			}
			seen[id] = true
			if first[id.Publisher] == 0 {
				first[id.Publisher] = id.Serial
			}
			last[id.Publisher] = max(last[id.Publisher], id.Serial)
		}
		if v.reset || j.chain.want.Thinned {
			continue
		}
		missing := uint64(0)
		for _, in := range j.forest.passed() {
			if in.Serial > first[in.Publisher] && in.Serial < last[in.Publisher] && first[in.Publisher] > 0 && !seen[in.Ident] && j.wants(&in.Publication) {
				missing++
			}
		}
		if missing > v.lost {
			j.violate(Unreported, missing-v.lost, -1, fmt.Sprintf("%d events are missing in the midst of connection %d, of which %d were told", missing, i+1, v.lost))
		}
	}
}

// passed returns the events of class ephemeral that were acked and sent once.
func (f *forest) passed() []*intent {
	if f.acked == nil {
		f.acked = []*intent{}
		for _, in := range f.page.intents {
			if in.passed && !in.Retried {
				f.acked = append(f.acked, in)
			}
		}
	}
	return f.acked
}
