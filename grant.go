package millrace

import "time"

// Action is something that a grant may allow on a topic.
type Action uint8

// The actions.
const (
	ActionSubscribe Action = 1 << iota
	ActionPublish
	ActionJoin
	ActionPresence
	ActionHistory

	ActionAll = ActionSubscribe | ActionPublish | ActionJoin | ActionPresence | ActionHistory
)

// Rule allows actions on the topics that a pattern covers.
type Rule struct {
	Pattern Pattern
	Actions Action
}

// Grant is what a token allows: to whom it was given, what, and until when. A Grant is immutable.
type Grant struct {
	Subject string    // empty for an anonymous peer
	Rules   []Rule    // an action is allowed if any rule allows it
	Expires time.Time // zero: does not expire
}

// Allows reports whether the grant covers an action on a topic. Reserved topics can't be published to by any peer.
func (g *Grant) Allows(a Action, topic string) bool {
	if a&ActionPublish != 0 && Reserved(topic) {
		return false
	}
	for _, r := range g.Rules {
		if r.Actions&a == a && r.Pattern.Matches(topic) {
			return true
		}
	}
	return false
}

// AllowsAll reports whether the grant covers an action on every topic that there may be under a pattern, by one rule. It
// is not for ActionPublish, which needs a topic.
func (g *Grant) AllowsAll(a Action, p Pattern) bool {
	for _, r := range g.Rules {
		if r.Actions&a == a && r.Pattern.Covers(p) {
			return true
		}
	}
	return false
}
