package broker

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Config is what a broker can be told. Zero fields take their defaults.
type Config struct {
	MaxEventBytes int // largest data of an event, in bytes; default 1 MiB

	TailEvents int           // newest events kept at hand for each followed topic, which in class ephemeral is all there is; default 256
	TailBytes  int           // what they may be charged for; default 512 KiB
	TailAge    time.Duration // how long they are kept at hand; default 1 min
	TailsBytes int64         // what the tails of all topics may be charged for; beyond it each keeps just its newest event; default 256 MiB

	BatchEvents int // events in one batch of a feed; default 512
	BatchBytes  int // what they are charged for, give or take an event; default 256 KiB
	FeedReads   int // pages of the log that one feed may have under way or at hand; default 8
	MaxMatched  int // topics that one pattern of a feed may cover; beyond it the pattern is ended; default 1,000,000

	LeaseTerm        time.Duration // how long members outlive their gateway; default 15 s
	MaxMemberBytes   int           // largest data of a member, in bytes; default 1 KiB
	ListedMembers    int           // on a page of members, unless asked for; default 100
	MaxListedMembers int           // likewise, whatever is asked for; default 1,000

	RetryAfter    time.Duration // wait before the first new try when the log fails; then twice as long each time; default 100 ms
	MaxRetryAfter time.Duration // longest such wait; default 5 s
}

func (c Config) withDefaults() Config {
	c.MaxEventBytes = cmp.Or(c.MaxEventBytes, 1<<20)
	c.TailEvents = cmp.Or(c.TailEvents, 256)
	c.TailBytes = cmp.Or(c.TailBytes, 512<<10)
	c.TailAge = cmp.Or(c.TailAge, time.Minute)
	c.TailsBytes = cmp.Or(c.TailsBytes, 256<<20)
	c.BatchEvents = cmp.Or(c.BatchEvents, 512)
	c.BatchBytes = cmp.Or(c.BatchBytes, 256<<10)
	c.FeedReads = cmp.Or(c.FeedReads, 8)
	c.MaxMatched = cmp.Or(c.MaxMatched, 1_000_000)
	c.LeaseTerm = cmp.Or(c.LeaseTerm, 15*time.Second)
	c.MaxMemberBytes = cmp.Or(c.MaxMemberBytes, 1<<10)
	c.ListedMembers = cmp.Or(c.ListedMembers, 100)
	c.MaxListedMembers = cmp.Or(c.MaxListedMembers, 1_000)
	c.RetryAfter = cmp.Or(c.RetryAfter, 100*time.Millisecond)
	c.MaxRetryAfter = cmp.Or(c.MaxRetryAfter, 5*time.Second)
	return c
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxEventBytes", int64(c.MaxEventBytes)},
		{"TailEvents", int64(c.TailEvents)},
		{"TailBytes", int64(c.TailBytes)},
		{"TailsBytes", c.TailsBytes},
		{"BatchEvents", int64(c.BatchEvents)},
		{"BatchBytes", int64(c.BatchBytes)},
		{"FeedReads", int64(c.FeedReads)},
		{"MaxMatched", int64(c.MaxMatched)},
		{"MaxMemberBytes", int64(c.MaxMemberBytes)},
		{"ListedMembers", int64(c.ListedMembers)},
		{"MaxListedMembers", int64(c.MaxListedMembers)},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %d; it can't be negative", f.name, f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"TailAge", c.TailAge},
		{"LeaseTerm", c.LeaseTerm},
		{"RetryAfter", c.RetryAfter},
		{"MaxRetryAfter", c.MaxRetryAfter},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %v; it can't be negative", f.name, f.value))
		}
	}
	return errors.Join(faults...)
}
