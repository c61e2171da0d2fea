package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
)

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
