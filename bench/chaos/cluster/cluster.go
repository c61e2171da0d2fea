// Package cluster runs a broker and its gateways as real processes, each behind proxies on all its sides.
package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/millrace-dev/millrace/bench/chaos/proxy"
)

// The secrets of a cluster that nobody else can reach.
const (
	tokenKey = "the key of a chaos run, which protects nothing"
	sealKey  = "the seal of a chaos run"
)

// Tails are small, so that consumers fall behind them all the time; heartbeats are short, so that what is half-open is
// found out.
var (
	edgeArgs = []string{
		"--listen", "127.0.0.1:0", "--key", tokenKey, "--seal-key", sealKey, "--log-level", "warn",
		"--personal-topics=false", // which nobody publishes to, and the ledger does not know
		"--tail-events", "32", "--tail-bytes", "64KiB", "--linger", "1s", "--drain-window", "1s", "--stall-timeout", "4s",
	}
	wireArgs = map[Role][]string{
		WebSocket: {"--ping-interval", "2s", "--ping-timeout", "2s"},
		SSE:       {"--heartbeat", "1s"},
	}
)

// Role is what a gateway speaks, by the command that runs it.
type Role string

// The roles.
const (
	WebSocket Role = "wsgateway"
	SSE       Role = "ssegateway"
)

// rulesText bounds the logs. Nothing gets so old that it expires.
const rulesText = `rules:
  - {pattern: "log:tight:*", max_events: %[1]d, max_age: 2h, max_bytes: 64MiB}
  - {pattern: "latest:tight:*", class: latest, max_events: %[1]d, max_age: 2h, max_bytes: 64MiB}
  - {pattern: "latest:**", class: latest, max_events: %[2]d, max_age: 2h, max_bytes: 64MiB}
  - {pattern: "ephemeral:**", class: ephemeral}
  - {pattern: "**", max_events: %[2]d, max_age: 2h, max_bytes: 64MiB}
`

// Config is how a cluster is made. All of it must be given, but for WebSocket.
type Config struct {
	Binary    string // of millrace
	Tight     int    // events that topics of the patterns *:tight:* keep, or keys
	Wide      int    // events that all others keep, or keys
	WebSocket proxy.Config

	// Lost is called when the logs are gone and before there can be new ones.
	Lost func()

	// Complain is told what no server may do, such as end by itself. It may be called concurrently.
	Complain func(format string, args ...any)
}

// Cluster is running servers. Its methods may be called concurrently; what is done to one process takes turns.
type Cluster struct {
	Backends *proxy.Proxy // the way of backends to the broker
	Gateways []*Gateway   // two of each role

	config Config
	broker *process
	dir    string
}

// Gateway is a gateway with its ways.
type Gateway struct {
	Role  Role
	Link  *proxy.Proxy // its way to the broker
	Peers *proxy.Proxy // the way of peers to it

	process *process
}

// Start runs a broker and two gateways of each role. Stop must be called, also if it fails.
func Start(c Config) (*Cluster, error) {
	k := &Cluster{config: c}
	var err error
	if k.dir, err = os.MkdirTemp("", "chaos"); err != nil {
		return k, fmt.Errorf("make a folder for the rules: %w", err)
	}
	rules := filepath.Join(k.dir, "rules.yaml")
	if err := os.WriteFile(rules, fmt.Appendf(nil, rulesText, c.Tight, c.Wide), 0o600); err != nil {
		return k, fmt.Errorf("write the rules: %w", err)
	}
	if k.Backends, err = proxy.Listen(proxy.Config{}); err != nil {
		return k, err
	}
	token, err := k.Token("gateway")
	if err != nil {
		return k, err
	}
	for _, role := range []Role{WebSocket, WebSocket, SSE, SSE} {
		if err := k.addGateway(role, token); err != nil {
			return k, err
		}
	}
	k.broker = k.process("broker", "--listen", "127.0.0.1:0", "--key", tokenKey, "--trusted", "gateway", "--log-level", "warn",
		"--drain-grace", "1s", "--config", rules)
	if err := k.startBroker(); err != nil {
		return k, err
	}
	for _, g := range k.Gateways {
		if err := g.start(); err != nil {
			return k, err
		}
	}
	return k, nil
}

func (k *Cluster) addGateway(role Role, token string) error {
	front := proxy.Config{}
	if role == WebSocket {
		front = k.config.WebSocket
	}
	link, err := proxy.Listen(proxy.Config{})
	if err != nil {
		return err
	}
	peers, err := proxy.Listen(front)
	if err != nil {
		link.Close()
		return err
	}
	args := append([]string{string(role), "--broker", link.Addr(), "--broker-token", token}, edgeArgs...)
	k.Gateways = append(k.Gateways, &Gateway{Role: role, Link: link, Peers: peers, process: k.process(append(args, wireArgs[role]...)...)})
	return nil
}

func (k *Cluster) process(args ...string) *process {
	return &process{binary: k.config.Binary, args: args, complain: k.config.Complain}
}

// startBroker starts the broker and tells everybody where it is.
func (k *Cluster) startBroker() error {
	addr, err := k.broker.start()
	if err != nil {
		return err
	}
	k.aim(addr)
	return nil
}

// aim tells everybody where the broker is. While it is down that is nowhere: its port may be somebody else's by then.
func (k *Cluster) aim(addr string) {
	k.Backends.Aim(addr)
	for _, g := range k.Gateways {
		g.Link.Aim(addr)
	}
}

func (g *Gateway) start() error {
	addr, err := g.process.start()
	if err != nil {
		return err
	}
	g.Peers.Aim(addr)
	return nil
}

// KillBroker ends the broker as kill -9 does, waits and starts it again, with its logs lost.
func (k *Cluster) KillBroker(wait func()) error { return k.restartBroker(syscall.SIGKILL, wait) }

// DrainBroker asks the broker to end, so that it sends gateways and backends away, waits and starts it again, with its
// logs lost.
func (k *Cluster) DrainBroker(wait func()) error { return k.restartBroker(syscall.SIGTERM, wait) }

func (k *Cluster) restartBroker(s syscall.Signal, wait func()) error {
	k.broker.turn.Lock()
	defer k.broker.turn.Unlock()
	if err := k.broker.end(s); err != nil {
		return err
	}
	k.aim("")
	k.config.Lost()
	wait()
	return k.startBroker()
}

// FreezeBroker stops the broker for as long as wait takes.
func (k *Cluster) FreezeBroker(wait func()) error { return k.broker.freeze(wait) }

// Kill ends the gateway as kill -9 does, waits and starts it again.
func (g *Gateway) Kill(wait func()) error { return g.restart(syscall.SIGKILL, wait) }

// Drain asks the gateway to end, so that it sends its peers away, waits and starts it again.
func (g *Gateway) Drain(wait func()) error { return g.restart(syscall.SIGTERM, wait) }

func (g *Gateway) restart(s syscall.Signal, wait func()) error {
	g.process.turn.Lock()
	defer g.process.turn.Unlock()
	if err := g.process.end(s); err != nil {
		return err
	}
	g.Peers.Aim("")
	wait()
	return g.start()
}

// Freeze stops the gateway for as long as wait takes.
func (g *Gateway) Freeze(wait func()) error { return g.process.freeze(wait) }

// Doors returns where peers find the gateways of a role, as host:port.
func (k *Cluster) Doors(role Role) []string {
	var addrs []string
	for _, g := range k.Gateways {
		if g.Role == role {
			addrs = append(addrs, g.Peers.Addr())
		}
	}
	return addrs
}

// Token makes a token that holds for the run, as an operator would.
func (k *Cluster) Token(subject string) (string, error) {
	cmd := exec.Command(k.config.Binary, "token", "--subject", subject, "--ttl", "24h")
	cmd.Env = []string{"MILLRACE_KEY=" + tokenKey}
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("make a token: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Stop ends everything and waits for it. Nothing may be done to the processes any more.
func (k *Cluster) Stop() error {
	var faults []error
	for _, g := range k.Gateways {
		g.Peers.Close()
		g.Link.Close()
		faults = append(faults, g.process.end(syscall.SIGKILL))
		g.process.watching.Wait()
	}
	if k.Backends != nil {
		k.Backends.Close()
	}
	if k.broker != nil {
		faults = append(faults, k.broker.end(syscall.SIGKILL))
		k.broker.watching.Wait()
	}
	return errors.Join(append(faults, os.RemoveAll(k.dir))...)
}
