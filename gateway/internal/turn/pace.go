// Package turn says whose turn it is when many must not go, or come, all at once. It neither waits nor reads a clock: a
// time is told to it as the time since any moment that stays the same, and so is chance. Its values are for one goroutine
// at a time.
package turn

import "time"

// Pace spreads a number of turns evenly over a time. The zero Pace has none.
type Pace struct {
	left int
	at   time.Duration // of the next turn
	step time.Duration // from one turn to the next
}

// NewPace spreads turns over a window that begins now, at a rate of at least so many a second: where that is more than
// enough they are over sooner.
func NewPace(now, window time.Duration, turns, rate int) Pace {
	p := Pace{left: turns, at: now}
	p.step = stepOf(window, turns, rate)
	return p
}

func stepOf(window time.Duration, turns, rate int) time.Duration {
	return min(max(window, 0)/time.Duration(max(turns, 1)), time.Second/time.Duration(rate))
}

// Hurry spreads the turns that are left over a window that begins now, if they are over sooner so.
func (p *Pace) Hurry(now, window time.Duration) {
	step := max(window, 0) / time.Duration(max(p.left, 1))
	at := min(p.at, now+step)
	if at+time.Duration(p.left)*step < p.end() {
		p.at, p.step = at, step
	}
}

// end is when the time of the last turn is over.
func (p *Pace) end() time.Duration { return p.at + time.Duration(p.left)*p.step }

// Take returns how many turns have come since it last did.
func (p *Pace) Take(now time.Duration) int {
	if p.left == 0 || now < p.at {
		return 0
	}
	n := p.left
	if p.step > 0 {
		n = int(min((now-p.at)/p.step+1, time.Duration(p.left)))
	}
	p.left -= n
	p.at += time.Duration(n) * p.step
	return n
}

// Next returns when the next turn comes, and false if there is none.
func (p *Pace) Next() (time.Duration, bool) { return p.at, p.left > 0 }
