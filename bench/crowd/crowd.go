// Package crowd is what fills a large room: the members of a gateway that has no sockets, as a hundred thousand of those
// would measure the kernel. It has a process of its own, which does what it is told line by line, so that it can be killed
// like a gateway and takes nothing from the clock of those who measure.
package crowd

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	sdk "github.com/millrace-dev/millrace/sdk/go"
)

// crowd is a link with its members. The sessions are numbers; they leave in the order in which they joined.
type crowd struct {
	// Static.
	link  *sdk.Link
	topic string
	batch int // changes that are asked for at once

	joined, left int // sessions so far
}

// Serve is the crowd's process. It says "ready", and then answers each line of in by one on out, until in ends:
//
//	join N RATE       N more sessions join, RATE a second; 0: as fast as the acks allow
//	churn N RATE      N sessions leave and as many others join, RATE a second of each, by turns
//
// The answer is "done", how many sessions have left and how many have joined since the beginning, and how many nanoseconds
// this order took. What can't be done is said there too, and ends it.
func Serve(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("crowd", flag.ContinueOnError)
	broker := flags.String("broker", "", "the broker's address")
	topic := flags.String("topic", "", "the room")
	batch := flags.Int("batch", 500, "joins that are asked for at once")
	if err := flags.Parse(args); err != nil {
		return err
	}
	client, err := sdk.Dial(*broker, sdk.WithInsecurePlaintext(), sdk.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer client.Close()
	link, err := client.Link(sdk.AsGateway(), sdk.WithPeer("crowd"))
	if err != nil {
		return err
	}
	c := &crowd{link: link, topic: *topic, batch: *batch}
	fmt.Fprintln(out, "ready")
	for lines := bufio.NewScanner(in); lines.Scan(); {
		began := time.Now()
		if err := c.obey(lines.Text()); err != nil {
			fmt.Fprintln(out, "failed:", err)
			return fmt.Errorf("%s: %w", lines.Text(), err)
		}
		fmt.Fprintln(out, "done", c.left, c.joined, time.Since(began).Nanoseconds())
	}
	return nil
}

func (c *crowd) obey(line string) error {
	var (
		order   string
		n, rate int
	)
	if _, err := fmt.Sscan(line, &order, &n, &rate); err != nil {
		return err
	}
	switch {
	case order == "join" && rate == 0:
		return c.rush(n)
	case order == "join":
		return paced(n, rate, func(n int) error { return c.enroll(c.joins(n)) })
	case order == "churn" && rate > 0:
		return c.churn(n, rate)
	}
	return errors.New("this is no order")
}

// tick is how often something is done at a steady rate.
const tick = 10 * time.Millisecond

// paced does something for n sessions, so many a second. What took too long is caught up with.
func paced(n, rate int, do func(n int) error) error {
	began := time.Now()
	for done := 0; done < n; {
		time.Sleep(tick - time.Since(began)%tick)
		due := min(int(time.Since(began).Seconds()*float64(rate)), n)
		if due == done {
			continue
		}
		if err := do(due - done); err != nil {
			return err
		}
		done = due
	}
	return nil
}

// churn lets n sessions leave and as many others join, those of one tick and then those of the next, so that there are not
// always as many.
func (c *crowd) churn(n, rate int) error {
	due, away := 0, 0
	err := paced(n, rate, func(n int) error {
		due += n
		if away > 0 {
			back := c.joins(away)
			away = 0
			return c.enroll(back)
		}
		away, due = due, 0
		return c.enroll(c.leaves(away))
	})
	if err != nil {
		return err
	}
	return c.enroll(append(c.leaves(due), c.joins(away+due)...))
}

// hands is how many batches are on their way at a time, so that the link has always something to send.
const hands = 4

// rush lets n sessions join as fast as the acks allow.
func (c *crowd) rush(n int) error {
	batches := make(chan []millrace.MemberChange)
	errs := make([]error, hands)
	var asking sync.WaitGroup
	for i := range hands {
		asking.Go(func() {
			for b := range batches {
				if errs[i] == nil {
					errs[i] = c.enroll(b)
				}
			}
		})
	}
	for n > 0 {
		some := min(n, c.batch)
		batches <- c.joins(some)
		n -= some
	}
	close(batches)
	asking.Wait()
	return errors.Join(errs...)
}

// joins returns the joins of the next n sessions, each with an id as long as those of gateways, and a subject of its own.
func (c *crowd) joins(n int) []millrace.MemberChange {
	changes := make([]millrace.MemberChange, n)
	for i := range changes {
		changes[i] = millrace.MemberChange{Kind: millrace.MemberJoin, Topic: c.topic, Member: millrace.Member{
			Session: Session(c.joined), Subject: fmt.Sprintf("u%08d", c.joined), Data: fmt.Appendf(nil, `{"name":"Member %d"}`, c.joined),
		}}
		c.joined++
	}
	return changes
}

func (c *crowd) leaves(n int) []millrace.MemberChange {
	changes := make([]millrace.MemberChange, n)
	for i := range changes {
		changes[i] = millrace.MemberChange{
			Kind: millrace.MemberLeave, Topic: c.topic, Member: millrace.Member{Session: Session(c.left)}, Reason: millrace.LeftAsked,
		}
		c.left++
	}
	return changes
}

// enroll asks for changes and waits for their acks.
func (c *crowd) enroll(changes []millrace.MemberChange) error {
	acks, err := c.link.Enroll(context.Background(), changes)
	if err != nil {
		return err
	}
	for i := range acks {
		if acks[i].Err != nil {
			return fmt.Errorf("session %s: %w", changes[i].Member.Session, acks[i].Err)
		}
	}
	return nil
}

// Session returns the id of a session of the crowd.
func Session(number int) string { return fmt.Sprintf("%022d", number) }
