package wire

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Subscription makes the message that asks for a subscription under an alias.
func Subscription(alias uint32, s millrace.Subscription) *millracev1.Subscription {
	return &millracev1.Subscription{
		Alias:   alias,
		Topic:   s.Topic,
		Start:   Start(s.Start),
		Filter:  s.Filter.String(),
		MaxRate: s.MaxRate,
	}
}

// ParseSubscription reads what is asked for. The error is ReasonFilterInvalid or ReasonBadRequest; the subscription is then
// returned all the same, to be named in the answer.
func ParseSubscription(m *millracev1.Subscription) (millrace.Subscription, *millrace.Error) {
	s := millrace.Subscription{Topic: m.GetTopic(), Start: ParseStart(m.GetStart()), MaxRate: m.GetMaxRate()}
	filter, err := millrace.ParseFilter(m.GetFilter())
	if err != nil {
		return s, millrace.AsError(err)
	}
	s.Filter = filter
	return s, millrace.AsError(millrace.ValidateMaxRate(s.MaxRate))
}
