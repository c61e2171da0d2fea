package crowd

import (
	"context"
	"fmt"
	"time"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// Departures is who leaves rooms, as their lifecycle logs tell it, until all rooms are vacated.
type Departures struct {
	First chan struct{} // closed at the first leave
	Done  chan struct{} // closed when all rooms are vacated, or Err is set

	// Written until Done is closed.
	Began  time.Time // when the first leave came
	Ended  time.Time // when the last room was vacated
	Missed uint64    // events that a gap took the place of
	Err    error

	leaves []*millrace.Event
	open   map[string]struct{} // lifecycle logs of rooms that have members
	cancel context.CancelFunc
}

// Follow follows the lifecycle logs of rooms, which must have members, from now on, and returns once it does. It is to be
// stopped.
func Follow(client *sdk.Client, rooms ...string) (*Departures, error) {
	d := &Departures{First: make(chan struct{}), Done: make(chan struct{}), open: map[string]struct{}{}}
	topics := make([]string, len(rooms))
	for i, room := range rooms {
		topics[i] = millrace.PresenceTopic(room)
		d.open[topics[i]] = struct{}{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := client.Subscribe(ctx, sdk.Topics(topics...))
	if err != nil {
		cancel()
		return nil, err
	}
	d.cancel = cancel
	attached := make(chan struct{})
	go d.run(ctx, s, attached)
	select {
	case <-attached:
		return d, nil
	case <-d.Done:
		cancel()
		return nil, d.Err
	}
}

// Stop ends it, and waits for that.
func (d *Departures) Stop() {
	d.cancel()
	<-d.Done
}

func (d *Departures) run(ctx context.Context, s *sdk.Subscription, attached chan<- struct{}) {
	defer close(d.Done)
	defer s.Close()
	for waited := len(d.open); len(d.open) > 0; {
		u, err := s.Next(ctx)
		switch {
		case err != nil:
			d.Err = err
			return
		case u.Kind == millrace.UpdateAttached:
			if waited--; waited == 0 {
				close(attached)
			}
		case u.Kind == millrace.UpdateRefused:
			d.Err = u.Err
			return
		case u.Kind == millrace.UpdateGap:
			d.Missed += u.Gap.Until.Offset - u.Gap.After.Offset
		}
		for _, e := range u.Events {
			d.take(e)
		}
	}
	d.Ended = time.Now()
}

// take notes an event. Nothing is read of it, which would take more time than the broker's whole part in it.
func (d *Departures) take(e *millrace.Event) {
	switch e.Name {
	case string(millrace.MemberLeft):
		if len(d.leaves) == 0 {
			d.Began = time.Now()
			close(d.First)
		}
		d.leaves = append(d.leaves, e)
	case string(millrace.TopicVacated):
		delete(d.open, e.Topic)
	}
}

// Leaves returns how many leaves were told. The error says which was told twice, or was for another reason than that the
// lease ran out. It is called after Done.
func (d *Departures) Leaves() (int, error) {
	type seat struct{ topic, session string }
	seen := make(map[seat]struct{}, len(d.leaves))
	for _, e := range d.leaves {
		m, err := millrace.ParseMemberEvent(e)
		if err != nil {
			return 0, err
		}
		at := seat{e.Topic, m.Member.Session}
		if _, again := seen[at]; again {
			return 0, fmt.Errorf("session %s left %s twice", at.session, at.topic)
		}
		if m.Reason != millrace.LeftLease {
			return 0, fmt.Errorf("session %s left %s with the reason %q", at.session, at.topic, m.Reason)
		}
		seen[at] = struct{}{}
	}
	return len(d.leaves), nil
}

// Left reports whether a session was told to have left, for all of the crowd's from one number on and below another, and
// returns the first that was not.
func (d *Departures) Left(from, to int) (missing string, all bool) {
	seen := make(map[string]struct{}, len(d.leaves))
	for _, e := range d.leaves {
		seen[e.Sender.Session] = struct{}{}
	}
	for i := from; i < to; i++ {
		if _, left := seen[Session(i)]; !left {
			return Session(i), false
		}
	}
	return "", true
}
