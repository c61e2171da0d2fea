package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// comparison is what is measured in each setting, in turn: so many healthy subscribers alone, and the same beside others
// that read nothing. Each run has a broker and a WebSocket gateway of its own.
type comparison struct {
	binary  string
	healthy int
	stalled int
	rate    int // events per second
	seconds int
	payload int // bytes of data
	runs    int
}

// setting is what stands beside the healthy subscribers.
type setting int

const (
	alone  setting = iota
	beside         // stalled peers of the same topic on the same gateway

	settings
)

func (s setting) String() string {
	return [...]string{"alone", "beside stalled"}[s]
}

// compareStalled measures and prints.
func compareStalled(args []string) error {
	var c comparison
	flags := flag.NewFlagSet("bench stalled", flag.ContinueOnError)
	flags.StringVar(&c.binary, "binary", "../bin/millrace", "the millrace to measure")
	flags.IntVar(&c.healthy, "healthy", 1000, "WebSocket subscribers that read")
	flags.IntVar(&c.stalled, "stalled", 1000, "WebSocket subscribers of the same topic that read nothing")
	flags.IntVar(&c.rate, "rate", 20, "events per second")
	flags.IntVar(&c.seconds, "seconds", 5, "length of one run; a longer one meets the kernel's next probes")
	flags.IntVar(&c.payload, "payload", 128, "bytes of data of an event")
	flags.IntVar(&c.runs, "runs", 10, "runs in each setting, in turn")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil
	case err != nil:
		return err
	}
	fmt.Printf("%d healthy WebSockets, alone and beside %d that read nothing\n"+
		"%d events/s of %d bytes, %d runs of %d s in each setting, in turn\n\n", c.healthy, c.stalled, c.rate, c.payload, c.runs, c.seconds)
	var all results
	for i := range c.runs {
		for j := range settings {
			s := (j + setting(i)) % settings
			o, err := c.run(s)
			if err != nil {
				return fmt.Errorf("run %d, %s: %w", i+1, s, err)
			}
			all[s] = append(all[s], o)
			fmt.Printf("  run %-2d %-15s %s\n", i+1, s.String()+":", o)
		}
	}
	all.print()
	return nil
}

// segment is what a TCP segment holds on the networks that peers come by. On loopback it is 64 KiB, and the kernel then
// takes 2.5 MB for each peer that reads nothing.
const segment = 1460

// stall opens n WebSockets that then read nothing. Those that it opened are the caller's to close even if it fails.
func stall(addr, path string, n int) (conns []net.Conn, err error) {
	small := func(_, _ string, raw syscall.RawConn) error {
		var failure error
		err := raw.Control(func(fd uintptr) {
			failure = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, segment)
		})
		return errors.Join(err, failure)
	}
	for i := range n {
		c, err := dial(addr, byte(2+i%200), small)
		if err != nil {
			return conns, fmt.Errorf("connect stalled peer %d: %w", i, err)
		}
		conns = append(conns, c)
		if _, err := shakeHands(c, addr, path); err != nil {
			return conns, fmt.Errorf("connect stalled peer %d: %w", i, err)
		}
	}
	return conns, nil
}

// unsent returns how many bytes the kernel holds that the server at an address has written and its peers have not taken
// (proc(5), /proc/net/tcp).
func unsent(addr string) (sum int64, err error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0, err
	}
	b, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	local := fmt.Sprintf(":%04X", n)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 5 || !strings.HasSuffix(f[1], local) {
			continue
		}
		const established = "01"
		queue, _, ok := strings.Cut(f[4], ":")
		if !ok || f[3] != established {
			continue
		}
		size, err := strconv.ParseInt(queue, 16, 64)
		if err != nil {
			return 0, err
		}
		sum += size
	}
	return sum, nil
}
