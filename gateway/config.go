package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/millrace-dev/millrace/gateway/internal/seal"
)

// Config is what a gateway can be told. Zero fields take their defaults.
type Config struct {
	Loops int // goroutines that write to sessions; default: one per processor

	MaxSessions      int // sessions at a time; default 1,000,000
	MaxTopics        int // topics of one session; default 128
	MaxFrameBytes    int // largest frame that a peer may send; default 64 KiB
	MaxEventBytes    int // largest data of an event that a peer may publish; default 64 KiB
	MaxOutboxBytes   int // answers that may wait for a peer that does not read; default 1 MiB
	MaxHistoryEvents int // events in one answer to a history command; default 1,000
	MaxHistoryBytes  int // bytes of events in one answer to a history command; default 1 MiB

	TailEvents int // newest events kept for each live topic; default 512
	TailBytes  int // their bytes; default 512 KiB
	BatchBytes int // bytes of events that one write to a session carries, give or take an event; default 64 KiB
	Slice      int // sessions that are written to before another topic has its turn; default 256
	Replays    int // reads from the broker's log under way at a time; default 32

	// MaxSessionAge is how long a connection may last before its peer is told to come back, give or take a tenth, so that
	// peers spread anew over the gateways that there are. Default: 0, for ever.
	MaxSessionAge time.Duration

	AdmitRate    int           // sessions that may be opened a second, and a tenth of it at once; default 10,000
	MaxAdmitWait time.Duration // how long an opening beyond that may wait for its turn; default 2 s

	// Grace is how long the memberships of a session stay whose connection was lost, so that a peer which comes back with its
	// cursor has not left. Default: 5 s. It is of use up to the broker's lease term.
	Grace time.Duration

	// MaxListedMembers is up to how many members of a topic sessions are told one by one; of larger topics they are told the
	// counts. Default: 1,000.
	MaxListedMembers int

	// MembersInterval is the time between two members frames of one topic, at least; what comes meanwhile is in one. It is
	// longer for many sessions, a tenth of a millisecond for each. Default: 100 ms.
	MembersInterval time.Duration

	// PersonalTopics says that each session with a subject is subscribed to the subject's topic (millrace.PersonalTopic).
	PersonalTopics bool

	// Peer is the gateway's name among the broker's peers. It is what each session shows beside its transport among all sessions.
	// Default: none is shown.
	Peer string

	Linger        time.Duration // how long a topic stays subscribed at the broker without a session; default 10 s
	MaxIdleTopics int           // topics that stay so at a time, or whoever comes and goes could make any number; default 10,000

	// SealKey is shared by all gateways, so that a session keeps its identity when it comes back to another. At least 16
	// bytes. Default: a random key, which no other gateway has.
	SealKey []byte

	Log *slog.Logger // default: slog.Default()
}

func (c Config) withDefaults() Config {
	setDefault(&c.Loops, runtime.GOMAXPROCS(0))
	setDefault(&c.MaxSessions, 1_000_000)
	setDefault(&c.MaxTopics, 128)
	setDefault(&c.MaxFrameBytes, 64<<10)
	setDefault(&c.MaxEventBytes, 64<<10)
	setDefault(&c.MaxOutboxBytes, 1<<20)
	setDefault(&c.MaxHistoryEvents, 1000)
	setDefault(&c.MaxHistoryBytes, 1<<20)
	setDefault(&c.MaxListedMembers, 1000)
	setDefault(&c.MembersInterval, 100*time.Millisecond)
	setDefault(&c.Grace, 5*time.Second)
	setDefault(&c.TailEvents, 512)
	setDefault(&c.TailBytes, 512<<10)
	setDefault(&c.BatchBytes, 64<<10)
	setDefault(&c.Slice, 256)
	setDefault(&c.Replays, 32)
	setDefault(&c.AdmitRate, 10_000)
	setDefault(&c.MaxAdmitWait, 2*time.Second)
	setDefault(&c.Linger, 10*time.Second)
	setDefault(&c.MaxIdleTopics, 10_000)
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}

func setDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"Loops", c.Loops},
		{"MaxSessions", c.MaxSessions},
		{"MaxTopics", c.MaxTopics},
		{"MaxFrameBytes", c.MaxFrameBytes},
		{"MaxEventBytes", c.MaxEventBytes},
		{"MaxOutboxBytes", c.MaxOutboxBytes},
		{"MaxHistoryEvents", c.MaxHistoryEvents},
		{"MaxHistoryBytes", c.MaxHistoryBytes},
		{"MaxListedMembers", c.MaxListedMembers},
		{"TailEvents", c.TailEvents},
		{"TailBytes", c.TailBytes},
		{"BatchBytes", c.BatchBytes},
		{"Slice", c.Slice},
		{"Replays", c.Replays},
		{"AdmitRate", c.AdmitRate},
		{"MaxIdleTopics", c.MaxIdleTopics},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %d; it can't be negative", f.name, f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"MaxSessionAge", c.MaxSessionAge},
		{"MaxAdmitWait", c.MaxAdmitWait},
		{"Grace", c.Grace},
		{"MembersInterval", c.MembersInterval},
		{"Linger", c.Linger},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %v; it can't be negative", f.name, f.value))
		}
	}
	if n := len(c.SealKey); n > 0 && n < seal.MinKey {
		faults = append(faults, fmt.Errorf("SealKey has %d bytes; at least %d are needed", n, seal.MinKey))
	}
	return errors.Join(faults...)
}
