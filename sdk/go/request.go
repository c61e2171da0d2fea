package sdk

import (
	"errors"
	"strings"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/sdk/go/internal/holding"
)

// SubscribeOption adds topics to a subscription, or says what is wanted of them.
type SubscribeOption func(*request)

// Topics subscribes to topics, and to all topics that patterns cover, such as orders:*. They begin where a cursor of
// Resume has them, and else as their class has it: now or, in class latest, with the state. A topic that a pattern covers
// and that is born later begins with its birth.
func Topics(names ...string) SubscribeOption {
	return func(r *request) {
		for _, name := range names {
			r.add(name, nil)
		}
	}
}

// TopicsFrom subscribes to topics and patterns from a start on, whatever a cursor of Resume says of them. Of a pattern it
// is where those topics begin that there are, and that the cursor does not have.
func TopicsFrom(start millrace.Start, names ...string) SubscribeOption {
	return func(r *request) {
		for _, name := range names {
			r.add(name, &start)
		}
	}
}

// WithFilter leaves out what the filter does not choose, at the broker, in all topics of the subscription; see
// millrace.ParseFilter. What is left out is no gap. It takes the place of the filters that a cursor of Resume has; an
// empty one leaves out nothing.
func WithFilter(text string) SubscribeOption {
	return func(r *request) {
		filter, err := millrace.ParseFilter(text)
		r.filter, r.filtered = filter, true
		r.fault(err)
	}
}

// MaxRate asks for so many events a second at most, from 0.001 to 1000, in all topics of the subscription: newer events
// take the place of older ones, in class latest of those of their key. The broker refuses topics of class log with it. It
// takes the place of the rates that a cursor of Resume has; 0 is no limit.
func MaxRate(perSecond float64) SubscribeOption {
	return func(r *request) {
		r.rate, r.rated = perSecond, true
		r.fault(millrace.ValidateMaxRate(perSecond))
	}
}

// Resume subscribes to the topics and patterns of a cursor, each from its position and with its filter and rate. The
// cursor may come from any door of Millrace; an empty one has no topics. That of a subscription may have more topics than
// the doors of a gateway take in one.
func Resume(cursor string) SubscribeOption {
	return func(r *request) {
		if cursor == "" {
			return
		}
		// Piece by piece: it is not sent anywhere, so what bounds a cursor in a header or URL does not bound this one.
		for item := range strings.SplitSeq(cursor, ",") {
			c, err := millrace.ParseCursor(item)
			if err != nil {
				r.fault(err)
				return
			}
			for _, o := range c.Options {
				r.options[o.Topic] = o
			}
			for _, p := range c.Pieces {
				r.add(p.Topic, nil)
				r.held[p.Topic] = p
				if !millrace.Pattern(p.Topic).IsTopic() {
					r.patterns = append(r.patterns, p.Topic)
				}
			}
		}
	}
}

// request is the topics and patterns of a subscription, in the order in which they were named.
type request struct {
	names  []string
	starts map[string]*millrace.Start // nil: not said

	// Of cursors.
	held     map[string]millrace.Piece
	patterns []string // among them
	options  map[string]millrace.Option

	filter   *millrace.Filter
	filtered bool // the filter holds for all
	rate     float64
	rated    bool // the rate holds for all

	faults []error
}

func (r *request) fault(err error) {
	if err != nil {
		r.faults = append(r.faults, err)
	}
}

func (r *request) add(name string, start *millrace.Start) {
	before, known := r.starts[name]
	if !known {
		if strings.Contains(name, "*") {
			r.fault(millrace.Pattern(name).Validate())
		} else {
			r.fault(millrace.ValidateTopic(name))
		}
		r.names = append(r.names, name)
	}
	if start == nil {
		start = before
	}
	r.starts[name] = start
}

// tracksOf returns what the options ask for. The error is every fault of it; each is a *millrace.Error.
func tracksOf(opts []SubscribeOption) ([]*track, error) {
	r := request{starts: map[string]*millrace.Start{}, held: map[string]millrace.Piece{}, options: map[string]millrace.Option{}}
	for _, o := range opts {
		o(&r)
	}
	if len(r.names) == 0 && len(r.faults) == 0 {
		r.fault(millrace.Errorf(millrace.ReasonBadRequest, "a subscription needs a topic"))
	}
	if len(r.faults) > 0 {
		return nil, errors.Join(r.faults...)
	}
	tracks := make([]*track, 0, len(r.names))
	for _, name := range r.names {
		tracks = append(tracks, newTrack(r.subscription(name)))
	}
	return tracks, nil
}

func (r *request) subscription(name string) millrace.Subscription {
	s := millrace.Subscription{Topic: name}
	piece, held := r.held[name]
	switch start := r.starts[name]; {
	case start != nil:
		s.Start = *start
	case piece.Attached:
		s.Start = millrace.After(piece.Position)
	}
	if held {
		o := holding.OptionOf(name, r.options, r.patterns)
		s.Filter, s.MaxRate = o.Filter, o.MaxRate
	}
	if r.filtered {
		s.Filter = r.filter
	}
	if r.rated {
		s.MaxRate = r.rate
	}
	return s
}
