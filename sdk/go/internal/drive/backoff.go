package drive

import (
	"errors"
	"fmt"
	"time"
)

// Backoff says how long to wait between tries: each time a random share of a bound that begins at Base and doubles with
// every failure up to Cap (exponential backoff with full jitter), so that peers that were cut off together do not come
// back together. What the server advises comes first: no try is earlier than that. Zero fields take their defaults.
type Backoff struct {
	Base time.Duration // bound of the wait after the first failure; default 0.5 s
	Cap  time.Duration // largest bound; default 30 s
	Hold time.Duration // a stream that was live for so long makes the next failure the first again; default 10 s

	Tries int // give up after so many failures in a row; default 0: never
}

// Validate reports every fault of the backoff at once.
func (b Backoff) Validate() error {
	var faults []error
	check := func(name string, d time.Duration) {
		if d < 0 {
			faults = append(faults, fmt.Errorf("%s is %s; it can't be negative", name, d))
		}
	}
	check("Base", b.Base)
	check("Cap", b.Cap)
	check("Hold", b.Hold)
	if b.Tries < 0 {
		faults = append(faults, fmt.Errorf("Tries is %d; it can't be negative", b.Tries))
	}
	if d := WithDefaults(b); len(faults) == 0 && d.Cap < d.Base {
		faults = append(faults, fmt.Errorf("Cap is %s; it can't be below Base, %s", d.Cap, d.Base))
	}
	return errors.Join(faults...)
}

// WithDefaults returns the backoff with its defaults filled in.
func WithDefaults(b Backoff) Backoff {
	if b.Base == 0 {
		b.Base = 500 * time.Millisecond
	}
	if b.Cap == 0 {
		b.Cap = max(30*time.Second, b.Base)
	}
	if b.Hold == 0 {
		b.Hold = 10 * time.Second
	}
	return b
}

// Delay returns the wait after so many failures in a row, at least one; chance is from [0, 1).
func Delay(b Backoff, failures int, chance float64) time.Duration {
	bound := b.Base
	for range failures - 1 {
		if bound >= b.Cap/2 {
			bound = b.Cap
			break
		}
		bound *= 2
	}
	return time.Duration(chance * float64(bound))
}
