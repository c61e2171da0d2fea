package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// process is a server that the benchmark started.
type process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// start runs a command until stop. Its first lines are read from lines.
func start(name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = io.Discard
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, stdin: stdin, lines: bufio.NewScanner(out)}, nil
}

// await reads lines until one ends with a word, and returns what the lines before it said is listening where.
func (p *process) await(word string) (map[string]string, error) {
	addresses := map[string]string{}
	for p.lines.Scan() {
		words := strings.Fields(p.lines.Text())
		switch {
		case len(words) == 0:
		case words[len(words)-1] == word:
			return addresses, nil
		case len(words) == 3 && words[0] == "listening":
			addresses[words[1]] = words[2]
		}
	}
	return nil, fmt.Errorf("%s ended before it was %s", p.cmd.Path, word)
}

// stop ends the process by its id.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case <-done:
		return nil
	case <-time.After(10 * time.Second):
		return p.cmd.Process.Kill()
	}
}

// kill ends the process by its id without a word.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil && p.cmd.ProcessState == nil {
		return err
	}
	return nil
}

// cpu returns the user and system time that the process consumed so far (proc(5), in ticks of 10 ms).
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// rss returns the resident memory of the process in bytes.
func (p *process) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// server is a process with what it serves at an address.
type server struct {
	*process
	address string
}

// serve starts a server and waits until it is ready. It returns one to be stopped even if it fails, if there is one.
func serve(kind, binary string, args ...string) (*server, error) {
	p, err := start(binary, args...)
	if err != nil {
		return nil, err
	}
	addresses, err := p.await("ready")
	return &server{process: p, address: addresses[kind]}, err
}

// loadOfMachine returns the mean number of processes that wanted to run in the last minute (proc(5)).
func loadOfMachine() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	load, _, _ := strings.Cut(string(b), " ")
	return load
}
