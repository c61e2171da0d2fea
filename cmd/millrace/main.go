// Command millrace is all of Millrace in one binary: the broker, the gateways, all of them at once for development, and
// a client for the command line. `millrace help` lists what it does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // it was tried, and failed
	exitUsage  = 2 // it was not tried: arguments or settings are not right
)

// streams are the standard streams.
type streams struct {
	in  io.Reader
	out io.Writer // results, and what machines read
	err io.Writer // logs, and what people read
}

func main() {
	os.Exit(run(untilSignalled(), os.Args[1:], os.Environ(), streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// untilSignalled returns a context that ends with the first signal to stop. A second one ends the process at once: signals
// are given back to the system before the context ends, so that whoever sees that the process is stopping can rely on it.
// signal.NotifyContext can't be had that way; what comes before its stop is called is swallowed.
func untilSignalled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // for as long as the process
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	return ctx
}

// run does what the arguments say and returns the exit code.
func run(ctx context.Context, args, environ []string, std streams) int {
	if len(args) == 0 {
		fmt.Fprint(std.err, overview())
		return exitUsage
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		return runHelp(args, std)
	case "version", "-v", "-version", "--version":
		fmt.Fprintln(std.out, versionText())
		return exitDone
	}
	c, ok := find(name)
	if !ok {
		fmt.Fprintf(std.err, "millrace: there is no command %q; `millrace help` lists them\n", name)
		return exitUsage
	}
	j := c.job()
	table := &settings.Table{Settings: j.settings(), Elsewhere: elsewhere()}
	rest, err := table.Load(args, environ)
	if errors.Is(err, settings.ErrHelp) {
		fmt.Fprint(std.out, c.help())
		return exitDone
	}
	faults := errors.Join(err, j.check(table))
	if faults == nil {
		faults = c.checkArgs(rest)
	}
	if faults != nil {
		fmt.Fprintf(std.err, "millrace %s can't start:\n  %s\n`millrace help %s` describes its settings.\n",
			c.name, strings.ReplaceAll(faults.Error(), "\n", "\n  "), c.name)
		return exitUsage
	}
	if err := j.run(ctx, rest, std); err != nil {
		fmt.Fprintf(std.err, "millrace %s: %s\n", c.name, explain(err))
		return exitFailed
	}
	return exitDone
}

// explain returns an error's text with its causes, which an error of the wire keeps to itself.
func explain(err error) string {
	texts := []string{err.Error()}
	for e, ok := errors.AsType[*millrace.Error](err); ok && e.Cause != nil; e, ok = errors.AsType[*millrace.Error](e.Cause) {
		texts = append(texts, e.Cause.Error())
	}
	return strings.Join(texts, ": ")
}
