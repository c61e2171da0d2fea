package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

// job is one run of a command: what it can be told, and what it then does.
type job interface {
	// settings returns the rows of the command's table. Their values are the job's.
	settings() []settings.Setting

	// check reports every fault between settings, once they are loaded. Those that have a fault have their defaults.
	check(t *settings.Table) error

	// run does it. Errors are for the user.
	run(ctx context.Context, args []string, std streams) error
}

// command is one word after millrace.
type command struct {
	name    string
	args    string // how they are shown
	short   string // one line
	about   string // what help says before the settings
	minArgs int
	maxArgs int // -1: any number
	job     func() job
}

func commands() []command {
	return []command{
		{name: "dev", short: "all in one process, for development", about: aboutDev, job: newDev},
		{name: "broker", short: "the broker: topics and their logs, over gRPC", about: aboutBroker, job: newBroker},
		{name: "wsgateway", short: "the gateway for WebSocket", about: aboutWSGateway, job: newWSGateway},
		{name: "ssegateway", short: "the gateway for Server-Sent Events", about: aboutSSEGateway, job: newSSEGateway},
		{name: "publish", args: "TOPIC DATA", short: "publish an event", about: aboutPublish, minArgs: 1, maxArgs: 2, job: newPublish},
		{name: "subscribe", args: "TOPIC…", short: "print the events of topics and patterns as they come", about: aboutSubscribe, maxArgs: -1, job: newSubscribe},
		{name: "status", short: "show how a broker is, and which gateways it has", about: aboutStatus, job: newStatus},
		{name: "drain", args: "PEER", short: "make a gateway send its peers elsewhere", about: aboutDrain, minArgs: 1, maxArgs: 1, job: newDrain},
		{name: "presence", args: "TOPIC", short: "show who is in a topic", about: aboutPresence, minArgs: 1, maxArgs: 1, job: newPresence},
		{name: "session", args: "ACTION TOPIC", short: "make live sessions subscribe, join and so on", about: aboutSession, minArgs: 2, maxArgs: 2, job: newSession},
		{name: "disconnect", short: "end live sessions", about: aboutDisconnect, job: newDisconnect},
		{name: "token", short: "make a token that names a subject", about: aboutToken, job: newToken},
	}
}

func find(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

// elsewhere returns the commands that know a setting, by its name.
func elsewhere() map[string][]string {
	known := map[string][]string{}
	for _, c := range commands() {
		for _, s := range c.job().settings() {
			known[s.Name] = append(known[s.Name], c.name)
		}
	}
	return known
}

func (c command) checkArgs(args []string) error {
	switch {
	case len(args) < c.minArgs:
		return fmt.Errorf("too few arguments; want millrace %s %s", c.name, c.args)
	case c.maxArgs == 0 && len(args) > 0:
		return fmt.Errorf("%q: this command takes no arguments, only settings", strings.Join(args, " "))
	case c.maxArgs > 0 && len(args) > c.maxArgs:
		return fmt.Errorf("%d arguments are too many; want millrace %s %s (quote data that has spaces)", len(args), c.name, c.args)
	}
	return nil
}

// version is set by the linker.
var version = "devel"

func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); ok && v == "devel" && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v = info.Main.Version
	}
	return fmt.Sprintf("millrace %s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

const aboutSettings = `Each setting is a flag, an environment variable and a key of the YAML file, such as --max-topics, MILLRACE_MAX_TOPICS
and max_topics; what belongs to one call is a flag only. A flag counts before the environment, and that before the file.
`

// overview is what `millrace help` prints.
func overview() string {
	var b strings.Builder
	b.WriteString(`Millrace is a pub/sub backbone for products with live screens.

  millrace COMMAND [ARGUMENTS] [SETTINGS]

`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-22s %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	}
	fmt.Fprintf(&b, "  %-22s %s\n", "version", "print the version")
	fmt.Fprintf(&b, "  %-22s %s\n", "help COMMAND", "describe a command and its settings")
	b.WriteString(`
Begin with:

  millrace dev
  millrace subscribe chat:1
  millrace publish chat:1 '{"text":"hello"}'
`)
	return b.String()
}

func (c command) help() string {
	table := &settings.Table{Settings: c.job().settings()}
	usage := strings.TrimSpace("millrace " + c.name + " " + c.args)
	return fmt.Sprintf("%s [SETTINGS]\n\n%s\nSettings:\n%s\n%s", usage, c.about, table.Help(), aboutSettings)
}

func runHelp(args []string, std streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.out, overview())
		return exitDone
	}
	c, ok := find(args[0])
	if !ok {
		fmt.Fprintf(std.err, "millrace help: there is no command %q; `millrace help` lists them\n", args[0])
		return exitUsage
	}
	fmt.Fprint(std.out, c.help())
	return exitDone
}
