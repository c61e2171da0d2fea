package millrace

// Subscription asks for the events of a topic, or of all topics that a pattern covers, from a place on.
type Subscription struct {
	Topic string // a topic or a pattern

	// Start is where to begin. For a pattern it is where the topics that there are begin; one that is born later is
	// followed from its birth.
	Start Start

	Filter *Filter // what to leave out, at the source; nil leaves out nothing

	// MaxRate is how many events a second are wanted at most, in the classes latest and ephemeral: newer ones take the
	// place of older ones. 0 is no limit.
	MaxRate float64
}

// Option returns what the subscription wants beside its place, and whether that is anything.
func (s *Subscription) Option() (Option, bool) {
	return Option{Topic: s.Topic, Filter: s.Filter, MaxRate: s.MaxRate}, s.Filter != nil || s.MaxRate > 0
}

// ValidateMaxRate reports whether a number can be a MaxRate: 0, or from one event in 1,000 s to 1,000 a second. The error is
// a *Error with ReasonBadRequest.
func ValidateMaxRate(rate float64) error {
	const slowest, fastest = 0.001, 1000
	if rate == 0 || rate >= slowest && rate <= fastest {
		return nil
	}
	return Errorf(ReasonBadRequest, "a rate is from %g to %d events a second, not %g", slowest, fastest, rate)
}
