package main

import (
	"fmt"
	"time"
)

// phase is what was measured while one thing was done.
type phase struct {
	name     string
	wall     time.Duration
	cpu      [2]time.Duration // broker, gateway
	acks     distribution     // of the other topic
	receipts distribution
	told     told
}

// measuring is a phase that goes on.
type measuring struct {
	g     *gathering
	pulse *pulse
	cpu   [2]time.Duration
	began time.Time

	from, to time.Time // what of the other topic counts; zero: all
}

func (g *gathering) begin() (*measuring, error) {
	p, err := startPulse(g.client, g.servers[1].address, g.rate)
	if err != nil {
		return nil, err
	}
	m := &measuring{g: g, pulse: p}
	if err := m.mark(); err != nil {
		_, _, _ = p.end() // why the mark failed is told
		return nil, err
	}
	return m, nil
}

// mark lets the phase begin now.
func (m *measuring) mark() (err error) {
	m.g.told.since()
	m.began = time.Now()
	m.cpu, err = m.g.cpu()
	return err
}

func (m *measuring) end(name string) (p phase, err error) {
	p = phase{name: name, wall: time.Since(m.began), told: m.g.told.since()}
	cpu, err := m.g.cpu()
	for i := range cpu {
		p.cpu[i] = cpu[i] - m.cpu[i]
	}
	acks, receipts, failed := m.pulse.end()
	if failed != nil {
		err = failed
	}
	from, to := m.from, m.to
	if from.IsZero() {
		from, to = m.began, m.began.Add(p.wall)
	}
	p.acks, p.receipts = between(acks, from.Sub(born), to.Sub(born)), between(receipts, from.Sub(born), to.Sub(born))
	return p, err
}

// phase measures while something is done.
func (g *gathering) phase(name string, do func() error) error {
	m, err := g.begin()
	if err != nil {
		return err
	}
	failed := do()
	p, err := m.end(name)
	if failed != nil {
		return failed
	}
	g.phases = append(g.phases, p)
	return err
}

func (g *gathering) cpu() (cpu [2]time.Duration, err error) {
	for i, s := range g.servers {
		if cpu[i], err = s.cpu(); err != nil {
			return cpu, err
		}
	}
	return cpu, nil
}

// print shows the phases below each other.
func (g *gathering) print() {
	fmt.Printf("\n  %-24s %8s %16s   %-27s %-27s %s\n", "", "", "CPU", "publish → ack of another", "publish → WebSocket", "each that looks on is told")
	fmt.Printf("  %-24s %8s %8s %7s   %-27s %-27s %s\n", "", "wall", "broker", "gateway", "p50 / p99 / max, ms", "p50 / p99 / max, ms", "lists            counts")
	for _, p := range g.phases {
		fmt.Printf("  %-24s %6.2f s %6.2f s %5.2f s   %-27s %-27s %-16s %s\n", p.name, p.wall.Seconds(), p.cpu[0].Seconds(), p.cpu[1].Seconds(),
			p.acks.brief(), p.receipts.brief(), each(p.told.lists, p.told.listBytes, g.onlooks), each(p.told.counts, p.told.countBytes, g.onlooks))
	}
	for _, n := range g.notes {
		fmt.Println("  " + n)
	}
}

func (d distribution) brief() string {
	ms := func(q float64) float64 { return float64(d.quantile(q)) / float64(time.Millisecond) }
	return fmt.Sprintf("%.2f / %.2f / %.1f", ms(0.5), ms(0.99), ms(1))
}

// each returns what one peer got of frames that n got.
func each(frames, bytes, n int) string {
	if frames == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f, %.1f KiB", float64(frames)/float64(n), float64(bytes)/float64(n)/1024)
}
