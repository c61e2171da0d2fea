package main_test

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests. It is not a claim about speed.
const patience = 60 * time.Second

// binary is the millrace under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "millrace")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a folder for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "millrace")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "build millrace:", err)
		return 1
	}
	return m.Run()
}

// process is a running millrace.
type process struct {
	t     *testing.T
	args  []string
	cmd   *exec.Cmd
	ended chan struct{}

	mu    sync.Mutex
	addrs map[string]string // by what listens there: grpc or http
	log   strings.Builder
}

// start runs millrace and waits until it is ready. It is ended with the test.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, args: args, addrs: map[string]string{}}
	p.run(args)
	t.Cleanup(p.kill)
	return p
}

func (p *process) run(args []string) {
	p.t.Helper()
	p.cmd = exec.Command(binary, args...)
	p.cmd.Env = []string{"HOME=" + p.t.TempDir(), "PATH=" + os.Getenv("PATH")}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = writerFunc(func(b []byte) (int, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.log.Write(b)
	})
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ready := make(chan struct{})
	p.ended = make(chan struct{})
	go func() {
		defer close(p.ended)
		var once sync.Once
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			words := strings.Fields(lines.Text())
			if len(words) == 3 && words[0] == "listening" {
				p.mu.Lock()
				p.addrs[words[1]] = words[2]
				p.mu.Unlock()
			}
			if len(words) > 0 && words[len(words)-1] == "ready" {
				once.Do(func() { close(ready) })
			}
		}
		if err := p.cmd.Wait(); err != nil {
			p.mu.Lock()
			fmt.Fprintln(&p.log, "ended:", err)
			p.mu.Unlock()
		}
	}()
	select {
	case <-ready:
	case <-p.ended:
		p.t.Fatalf("millrace %s ended before it was ready:\n%s", strings.Join(args, " "), p.stderr())
	case <-time.After(patience):
		p.t.Fatalf("millrace %s is not ready:\n%s", strings.Join(args, " "), p.stderr())
	}
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// addr returns where the process listens for grpc or http.
func (p *process) addr(what string) string {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.addrs[what]
	if !ok {
		p.t.Fatalf("millrace %s does not listen for %s", p.args[0], what)
	}
	return a
}

// kill ends the process at once, as kill -9 does.
func (p *process) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil {
		p.t.Logf("kill millrace %s: %v", p.args[0], err)
	}
	<-p.ended
}

// interrupt asks the process to end and waits for it.
func (p *process) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("millrace %s does not end:\n%s", p.args[0], p.stderr())
	}
}

// peak returns the most memory in bytes that was resident at a time since the last call, or since the start.
func (p *process) peak() int64 {
	p.t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	b, err := os.ReadFile(proc + "status")
	if err != nil {
		p.t.Fatal(err)
	}
	var kib int64
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(proc+"clear_refs", []byte("5"), 0); err != nil { // proc(5): the peak becomes what is resident now
		p.t.Fatal(err)
	}
	return kib << 10
}

// split is the deployment in three processes.
type split struct{ broker, ws, sse *process }

func startSplit(t *testing.T, gatewayArgs ...string) split {
	t.Helper()
	return splitWith(t, nil, gatewayArgs)
}

func splitWith(t *testing.T, brokerArgs, gatewayArgs []string) split {
	t.Helper()
	b := start(t, append([]string{"broker", "--listen", "127.0.0.1:0"}, brokerArgs...)...)
	gateway := func(role string) *process {
		return start(t, append([]string{role, "--listen", "127.0.0.1:0", "--broker", b.addr("grpc"), "--anonymous", "--seal-key", sealKey}, gatewayArgs...)...)
	}
	return split{broker: b, ws: gateway("wsgateway"), sse: gateway("ssegateway")}
}

const sealKey = "0123456789abcdef0123456789abcdef"

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestHealthIsServedByEachProcess(t *testing.T) {
	s := startSplit(t)
	for _, p := range []*process{s.ws, s.sse} {
		for _, path := range []string{"/healthz", "/readyz"} {
			resp, err := http.Get("http://" + p.addr("http") + path)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("%s of %s answered %s", path, p.args[0], resp.Status)
			}
		}
	}
}
