package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/broker"
	"github.com/millrace-dev/millrace/broker/memlog"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

// storage is what a broker keeps, and how much of it.
type storage struct {
	fallback      broker.Rule // for topics that no rule covers
	rules         []*broker.Rule
	maxEventBytes int
	maxTopics     int
	maxTotalBytes int64
}

func newStorage() storage {
	return storage{fallback: broker.Rule{}.WithDefaults(), maxEventBytes: 1 << 20, maxTopics: 1_000_000, maxTotalBytes: 1 << 30}
}

func (s *storage) settings() []settings.Setting {
	r := &s.fallback
	return []settings.Setting{
		{Name: "topic-max-events", Value: settings.Int(&r.MaxEvents, 1), Doc: "events kept of a topic that no rule covers"},
		{Name: "topic-max-age", Value: settings.Duration(&r.MaxAge, time.Second), Doc: "how long they are kept"},
		{Name: "topic-max-bytes", Value: settings.Bytes(&r.MaxBytes, 1), Doc: "memory that they may take"},
		{Name: "rules", Value: settings.Records(s.rule), Doc: "a sequence of classes and bounds for the topics of a pattern, of which the first that matches " +
			"counts: pattern, class, max_events, max_age, max_bytes, dedup_window, dedup_ids, head_retention"},
		{Name: "max-event-bytes", Value: settings.Bytes(&s.maxEventBytes, 1), Doc: "largest data of an event"},
		{Name: "max-topics", Value: settings.Int(&s.maxTopics, 1), Doc: "topics at a time"},
		{Name: "max-total-bytes", Value: settings.Bytes(&s.maxTotalBytes, 1), Doc: "memory that all topics together may take"},
	}
}

// rule returns the settings of one more rule.
func (s *storage) rule() []settings.Setting {
	r := &broker.Rule{}
	s.rules = append(s.rules, r)
	pattern := func(text string) error {
		r.Pattern = millrace.Pattern(text)
		if r.Pattern.Validate() != nil {
			return errors.New(`a pattern such as chat:** or user:*:inbox`)
		}
		return nil
	}
	class := func(text string) error {
		c, ok := millrace.ParseClass(text)
		if r.Class = c; !ok || text == "" {
			return errors.New("log, latest or ephemeral")
		}
		return nil
	}
	return []settings.Setting{
		{Name: "pattern", Value: settings.Func(pattern, "", "")},
		{Name: "class", Value: settings.Func(class, "", "")},
		{Name: "max-events", Value: settings.Int(&r.MaxEvents, 1)},
		{Name: "max-age", Value: settings.Duration(&r.MaxAge, time.Second)},
		{Name: "max-bytes", Value: settings.Bytes(&r.MaxBytes, 1)},
		{Name: "dedup-window", Value: settings.Duration(&r.DedupWindow, time.Second)},
		{Name: "dedup-ids", Value: settings.Int(&r.DedupIDs, 1)},
		{Name: "head-retention", Value: settings.Duration(&r.HeadRetention, time.Second)},
	}
}

func (s *storage) check(t *settings.Table) error {
	var faults []error
	for i, r := range s.rules {
		if r.Pattern == "" {
			faults = append(faults, fmt.Errorf("%s: rule %d has no pattern", t.Where("rules"), i+1))
		} else if err := r.Validate(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", t.Where("rules"), err))
		}
	}
	return errors.Join(faults...)
}

// open returns a running broker over a log in memory, and what stops both.
func (s *storage) open() (*broker.Broker, func() error, error) {
	rules := make([]broker.Rule, 0, len(s.rules)+1)
	for _, r := range s.rules {
		rules = append(rules, *r)
	}
	last := s.fallback
	last.Pattern = "**"
	last.HeadRetention = max(last.HeadRetention, last.MaxAge)
	log, err := memlog.New(memlog.Config{Rules: append(rules, last), MaxTopics: s.maxTopics, MaxBytes: s.maxTotalBytes})
	if err != nil {
		return nil, nil, err
	}
	b, err := broker.New(broker.Config{MaxEventBytes: s.maxEventBytes}, log, memlog.NewRoster(log))
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return b, func() error {
		b.Stop()
		return log.Close()
	}, nil
}
