package peer

import (
	"strings"

	"github.com/millrace-dev/millrace/bench/ledger"
)

// Choice is a filter, and what it says in Go, written apart.
type Choice struct {
	Filter string                         // "" is none
	Wants  func(*ledger.Publication) bool // nil is every event
}

// Choices returns filters for topics of any class.
func Choices() []Choice {
	return []Choice{
		{`name == "even"`, func(p *ledger.Publication) bool { return p.Serial%2 == 0 }},
		{`header.lane < 3`, func(p *ledger.Publication) bool { return p.Lane == 1 || p.Lane == 2 }},
		{`!header.lane || name != "even"`, func(p *ledger.Publication) bool { return p.Lane == 0 || p.Serial%2 == 1 }},
		{`header["lane"] in (2, "5") && name ^= "o"`, func(p *ledger.Publication) bool {
			return (p.Lane == 2 || p.Lane == 5) && p.Serial%2 == 1
		}},
		{`key ^= "k1" || header.lane == 4`, func(p *ledger.Publication) bool {
			return strings.HasPrefix(p.Key, "k1") || p.Lane == 4
		}},
	}
}

// ClassOf returns the class of a topic, which its name says.
func ClassOf(topic string) ledger.Class {
	switch kind, _, _ := strings.Cut(topic, ":"); kind {
	case "latest":
		return ledger.Latest
	case "ephemeral":
		return ledger.Ephemeral
	default:
		return ledger.Log
	}
}
