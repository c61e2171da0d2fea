package rpc

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/millrace-dev/millrace"
)

// Config is what a Server can be told. Zero fields take their defaults, but for how callers come in: an Authenticator or
// an Anonymous grant is needed.
type Config struct {
	Authenticator Authenticator   // reads tokens; without one no token holds
	Anonymous     *millrace.Grant // what callers without a token may do; default: the Authenticator is asked about the empty token
	Trusted       []string        // subjects that may speak for others: gateways and operators, "" for callers without one; default: only an anonymous caller that may do everything

	Local map[string]Sessions // gateways in the broker's own process, by their peer ids; default: none

	Broker  string // the broker's id, for people; default a random one
	Version string // of the software, for people; default "devel"
	Engine  string // what keeps the logs, for people; default "memory"

	MaxEventBytes   int // largest data of an event that the broker takes, as peers are told; default 1 MiB
	MaxMessageBytes int // largest request taken; default 4 MiB, or 1 MiB more than MaxEventBytes if that is larger
	MaxStreams      int // calls at a time on one connection; default 1,000
	MaxTopics       int // subscriptions of one stream, and topics that a bot may join on it; default 1,000,000

	BatchEvents int // events in one message to a subscriber, at most; default 512
	BatchBytes  int // bytes in such a message, but for what its last event is larger; default 256 KiB
	PageEvents  int // events on a page of History, at most; default 1,000
	PageBytes   int // what they may be charged for, give or take an event; default 1 MiB

	WindowEvents int // events that a peer may have on their way on a stream, not yet acked, and likewise changes of members; default 256
	WindowBytes  int // and what each of the two hold; a single larger request is taken alone; default 4 MiB

	StreamAge    time.Duration // when a stream is told to go, give or take a tenth; default 30 min
	StreamGrace  time.Duration // how long it goes on after that; default 30 s, or StreamAge if that is less
	DrainGrace   time.Duration // how long streams go on while the server shuts down; default 3 s
	HelloTimeout time.Duration // how long a link may be open without a hello; default 10 s
	SlowTimeout  time.Duration // how long a peer may take nothing of what is ready for it; default 2 min

	CommandTimeout time.Duration // how long a gateway may take to answer a command to its sessions; default 10 s

	PingInterval time.Duration // pings on a connection that is silent; default 30 s
	PingTimeout  time.Duration // how long the answer may take before the connection is given up; default 20 s

	Log *slog.Logger // default: nothing is logged
}

// minPingInterval is how often peers may ping.
const minPingInterval = 10 * time.Second

func (c Config) withDefaults() Config {
	c.Version = cmp.Or(c.Version, "devel")
	c.Engine = cmp.Or(c.Engine, "memory")
	c.MaxEventBytes = cmp.Or(c.MaxEventBytes, 1<<20)
	c.MaxMessageBytes = cmp.Or(c.MaxMessageBytes, max(4<<20, c.MaxEventBytes+(1<<20)))
	c.MaxStreams = cmp.Or(c.MaxStreams, 1_000)
	c.MaxTopics = cmp.Or(c.MaxTopics, 1_000_000)
	c.BatchEvents = cmp.Or(c.BatchEvents, 512)
	c.BatchBytes = cmp.Or(c.BatchBytes, 256<<10)
	c.PageEvents = cmp.Or(c.PageEvents, 1_000)
	c.PageBytes = cmp.Or(c.PageBytes, 1<<20)
	c.WindowEvents = cmp.Or(c.WindowEvents, 256)
	c.WindowBytes = cmp.Or(c.WindowBytes, 4<<20)
	c.StreamAge = cmp.Or(c.StreamAge, 30*time.Minute)
	c.StreamGrace = cmp.Or(c.StreamGrace, min(30*time.Second, c.StreamAge))
	c.DrainGrace = cmp.Or(c.DrainGrace, 3*time.Second)
	c.HelloTimeout = cmp.Or(c.HelloTimeout, 10*time.Second)
	c.SlowTimeout = cmp.Or(c.SlowTimeout, 2*time.Minute)
	c.CommandTimeout = cmp.Or(c.CommandTimeout, 10*time.Second)
	c.PingInterval = cmp.Or(c.PingInterval, 30*time.Second)
	c.PingTimeout = cmp.Or(c.PingTimeout, 20*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	if c.Authenticator == nil && c.Anonymous == nil {
		faults = append(faults, errors.New("there is neither an Authenticator nor an Anonymous grant, so nobody could come in"))
	}
	for _, f := range []struct {
		name  string
		value int
	}{
		{"MaxMessageBytes", c.MaxMessageBytes},
		{"MaxEventBytes", c.MaxEventBytes},
		{"MaxStreams", c.MaxStreams},
		{"MaxTopics", c.MaxTopics},
		{"BatchEvents", c.BatchEvents},
		{"BatchBytes", c.BatchBytes},
		{"PageEvents", c.PageEvents},
		{"PageBytes", c.PageBytes},
		{"WindowEvents", c.WindowEvents},
		{"WindowBytes", c.WindowBytes},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %d; it can't be negative", f.name, f.value))
		}
	}
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"StreamAge", c.StreamAge},
		{"StreamGrace", c.StreamGrace},
		{"DrainGrace", c.DrainGrace},
		{"HelloTimeout", c.HelloTimeout},
		{"SlowTimeout", c.SlowTimeout},
		{"CommandTimeout", c.CommandTimeout},
		{"PingInterval", c.PingInterval},
		{"PingTimeout", c.PingTimeout},
	} {
		if f.value < 0 {
			faults = append(faults, fmt.Errorf("%s is %v; it can't be negative", f.name, f.value))
		}
	}
	if d := c.withDefaults(); len(faults) == 0 && d.MaxMessageBytes < d.MaxEventBytes {
		faults = append(faults, fmt.Errorf("MaxMessageBytes is %d; an event of MaxEventBytes, which is %d, would not fit", d.MaxMessageBytes, d.MaxEventBytes))
	}
	return errors.Join(faults...)
}
