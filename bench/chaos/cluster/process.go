package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds how long a process may take to be ready, and endTimeout to end once it is asked to.
const (
	startTimeout = 30 * time.Second
	endTimeout   = 30 * time.Second
)

// process is one server of the cluster, over all the times that it is started again.
type process struct {
	// Static.
	binary   string
	args     []string
	complain func(format string, args ...any)
	watching sync.WaitGroup

	turn   sync.Mutex // held while something is done to the process
	stderr tail

	mu      sync.Mutex
	cmd     *exec.Cmd     // protected by mu; the last that was started, nil before the first
	ended   chan struct{} // protected by mu; closed when cmd has ended
	leaving bool          // protected by mu; its end is wanted
}

// start runs the process and returns the address where it listens.
func (p *process) start() (string, error) {
	cmd := exec.Command(p.binary, p.args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = &p.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", fmt.Errorf("start millrace %s: %w", p.args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("start millrace %s: %w", p.args[0], err)
	}
	ready, ended := make(chan string, 1), make(chan struct{})
	p.mu.Lock()
	p.cmd, p.ended, p.leaving = cmd, ended, false
	p.mu.Unlock()
	p.watching.Go(func() {
		addr := ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			words := strings.Fields(lines.Text())
			switch {
			case len(words) == 3 && words[0] == "listening":
				addr = words[2]
			case len(words) > 0 && words[len(words)-1] == "ready":
				ready <- addr
			}
		}
		p.watch(cmd, cmd.Wait())
		close(ended)
	})
	timer := time.NewTimer(startTimeout)
	defer timer.Stop()
	select {
	case addr := <-ready:
		return addr, nil
	case <-ended:
	case <-timer.C:
	}
	return "", fmt.Errorf("millrace %s is not ready: %s", p.args[0], &p.stderr)
}

// watch tells of an end that nobody wanted.
func (p *process) watch(cmd *exec.Cmd, how error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == cmd && !p.leaving {
		p.complain("millrace %s ended by itself (%v): %s", p.args[0], how, &p.stderr)
	}
}

// pass sends the process a signal that it survives.
func (p *process) pass(s syscall.Signal) error {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("send %s to millrace %s: %w", s, p.args[0], err)
	}
	return nil
}

// end sends the process a signal that ends it, and waits for that.
func (p *process) end(s syscall.Signal) error {
	p.mu.Lock()
	cmd, ended := p.cmd, p.ended
	p.leaving = true
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := p.pass(s); err != nil {
		return err
	}
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	}
	p.complain("millrace %s did not end within %s of %s: %s", p.args[0], endTimeout, s, &p.stderr)
	if err := p.pass(syscall.SIGKILL); err != nil {
		return err
	}
	<-ended
	return nil
}

// freeze stops the process for as long as wait takes: for it, the clock jumps.
func (p *process) freeze(wait func()) error {
	p.turn.Lock()
	defer p.turn.Unlock()
	if err := p.pass(syscall.SIGSTOP); err != nil {
		return err
	}
	wait()
	return p.pass(syscall.SIGCONT)
}

// tail keeps the end of what is written to it. It may be written to concurrently.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailBytes = 16 << 10

// Write keeps b. It never fails.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if len(t.b) > tailBytes {
		t.b = append([]byte(nil), t.b[len(t.b)-tailBytes:]...)
	}
	return len(b), nil
}

// String returns what is kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
