package memlog

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/millrace-dev/millrace/broker"
)

// Config is what a log can be told. Zero fields take their defaults.
type Config struct {
	Rules []broker.Rule // bounds of each topic's log; the first that matches counts, and a topic that none covers has the defaults

	MaxTopics int   // topics that have a head; default 1,000,000
	MaxBytes  int64 // what all topics together may be charged for, events, marks and remembered ids; default 1 GiB

	SweepInterval time.Duration // how often what has outlived its rule is let go of where nobody appends or reads; default 10 s

	// Mark returns random numbers for marks and may be called concurrently. Default: the process's own ChaCha8
	// generator, which is seeded by the system.
	Mark func() uint64

	// Now returns the time by which events are stamped and expire, and may be called concurrently. It may jump either way.
	// Default: time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	c.MaxTopics = cmp.Or(c.MaxTopics, 1_000_000)
	c.MaxBytes = cmp.Or(c.MaxBytes, 1<<30)
	c.SweepInterval = cmp.Or(c.SweepInterval, 10*time.Second)
	if c.Mark == nil {
		c.Mark = rand.Uint64
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for _, r := range c.Rules {
		if err := r.Validate(); err != nil {
			faults = append(faults, err)
		}
	}
	if c.MaxTopics < 0 {
		faults = append(faults, fmt.Errorf("MaxTopics is %d; it can't be negative", c.MaxTopics))
	}
	if c.MaxBytes < 0 {
		faults = append(faults, fmt.Errorf("MaxBytes is %d; it can't be negative", c.MaxBytes))
	}
	if c.SweepInterval < 0 {
		faults = append(faults, fmt.Errorf("SweepInterval is %v; it can't be negative", c.SweepInterval))
	}
	return errors.Join(faults...)
}
