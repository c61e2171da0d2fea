package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// serveFloor is the floor's process: it accepts connections and writes one shared buffer to all of them at a rate, by
// bare write(2) on non-blocking sockets from one locked thread, past the Go scheduler and poller.
func serveFloor(args []string) error {
	flags := flag.NewFlagSet("floor-server", flag.ContinueOnError)
	n := flags.Int("subscribers", 0, "")
	size := flags.Int("size", 0, "")
	rate := flags.Int("rate", 0, "")
	writes := flags.Int("writes", 0, "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println("listening tcp", l.Addr())
	fmt.Println("floor ready")
	fds := make([]uintptr, 0, *n)
	for range *n {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		if err := raw.Control(func(fd uintptr) { fds = append(fds, fd) }); err != nil {
			return err
		}
		defer runtime.KeepAlive(c)
	}
	fmt.Println("floor connected")
	start := make([]byte, 1)
	if _, err := os.Stdin.Read(start); err != nil {
		return nil
	}
	buf := floorFrame(*size)
	runtime.LockOSThread()
	next := time.Now()
	for range *writes {
		for _, fd := range fds {
			if _, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))); errno != 0 {
				return fmt.Errorf("write: %w", errno)
			}
		}
		next = next.Add(time.Second / time.Duration(*rate))
		time.Sleep(time.Until(next))
	}
	_, err = os.Stdin.Read(start)
	if err != nil {
		return nil
	}
	return nil
}

// floorFrame is one WebSocket text frame of a size, header included, that counts as an event.
func floorFrame(size int) []byte {
	b := make([]byte, size)
	switch {
	case size-2 < 126:
		b[0], b[1] = 0x81, byte(size-2)
		copy(b[2:], `{"event"`)
	default:
		b[0], b[1], b[2], b[3] = 0x81, 126, byte((size-4)>>8), byte(size-4)
		copy(b[4:], `{"event"`)
	}
	return b
}

// measureFloor runs the floor with frames of a size.
func (p plan) measureFloor(size int) (m measurement, err error) {
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	writes := p.rate * p.seconds
	server, err := start(self, "floor-server", "-subscribers", fmt.Sprint(p.subscribers), "-size", fmt.Sprint(size),
		"-rate", fmt.Sprint(p.rate), "-writes", fmt.Sprint(writes))
	if err != nil {
		return m, err
	}
	defer func() {
		if e := server.stop(); err == nil {
			err = e
		}
	}()
	addresses, err := server.await("ready")
	if err != nil {
		return m, err
	}
	subscribers, err := connect(addresses["tcp"], "", p.subscribers)
	if err != nil {
		return m, err
	}
	defer subscribers.close()
	if _, err := server.await("connected"); err != nil {
		return m, err
	}
	_, err = m.between(server, subscribers, func() (int, error) {
		if _, err := server.stdin.Write([]byte{1}); err != nil {
			return 0, err
		}
		time.Sleep(time.Duration(p.seconds) * time.Second)
		return writes, nil
	})
	m.faults = 0
	return m, err
}
