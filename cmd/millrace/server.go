package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/cmd/millrace/settings"
	"github.com/millrace-dev/millrace/gateway/httpapi"
)

// Bounds of what an HTTP peer may take.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = time.Minute // of a whole request; lifted where a connection is taken over
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	stopTimeout       = 5 * time.Second // for requests under way when the server is to stop
)

// logging says what a server logs.
type logging struct {
	level  string
	format string
}

func newLogging() logging { return logging{level: "info", format: "text"} }

func (l *logging) settings() []settings.Setting {
	return []settings.Setting{
		{Name: "log-level", Value: settings.Choice(&l.level, "debug", "info", "warn", "error"), Doc: "the least that is logged"},
		{Name: "log-format", Value: settings.Choice(&l.format, "text", "json"), Doc: "form of the log, which goes to standard error"},
	}
}

func (l *logging) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		level = slog.LevelInfo // the setting takes only levels
	}
	options := &slog.HandlerOptions{Level: level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// address is where a server listens.
type address struct {
	setting string
	text    string
}

func (a *address) row(doc string) settings.Setting {
	return settings.Setting{Name: a.setting, Value: settings.Text(&a.text, "ADDR"), Doc: doc + "; port 0 is any free one"}
}

// check reports an address that can't be listened on, and whether only this machine can reach it.
func (a *address) check(t *settings.Table) (loopback bool, err error) {
	host, port, err := net.SplitHostPort(a.text)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %q is not an address such as 127.0.0.1:7400", t.Where(a.setting), a.text)
	}
	return isLoopback(host), nil
}

// isLoopback reports whether a host is this machine alone.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// part is one thing that a server process serves.
type part struct {
	what  string // for people and machines: grpc or http
	addr  string
	serve func(net.Listener) error // returns nil once it was stopped
	stop  func()                   // ends serve; it bounds its own time
}

// serve listens for all parts, says where, serves until ctx ends or a part fails, and stops the parts in their order.
func serve(ctx context.Context, command string, out io.Writer, log *slog.Logger, parts ...part) error {
	var listeners []net.Listener
	for _, p := range parts {
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			for _, open := range listeners {
				err = errors.Join(err, open.Close())
			}
			return fmt.Errorf("listen for %s: %w", p.what, err)
		}
		listeners = append(listeners, l)
	}
	var running sync.WaitGroup
	failed := make(chan error, len(parts))
	for i, p := range parts {
		running.Go(func() {
			if err := p.serve(listeners[i]); err != nil {
				failed <- fmt.Errorf("serve %s: %w", p.what, err)
			}
		})
		fmt.Fprintf(out, "listening %s %s\n", p.what, listeners[i].Addr())
	}
	fmt.Fprintf(out, "millrace %s ready\n", command)

	var err error
	select {
	case <-ctx.Done():
		log.Info("stopping", "command", command)
	case err = <-failed:
	}
	for _, p := range parts {
		p.stop()
	}
	running.Wait()
	return err
}

// httpPart serves HTTP. Connections that a handler takes over are the handler's to end.
func httpPart(addr string, handler http.Handler, log *slog.Logger) part {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return part{
		what: "http",
		addr: addr,
		serve: func(l net.Listener) error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		},
		stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			if err := server.Shutdown(ctx); err != nil {
				log.Warn("requests were cut off", "error", err)
				if err := server.Close(); err != nil {
					log.Warn("close of the HTTP server failed", "error", err)
				}
			}
		},
	}
}

// localHosts refuses requests that name another host than this machine. Where everyone on this machine may come in, a page
// of a foreign site must not: by a name of its own that leads here (DNS rebinding) it would pass for the same origin.
func localHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !isLoopback(strings.Trim(host, "[]")) {
			httpapi.WriteError(w, millrace.Errorf(millrace.ReasonOrigin, "this server takes requests without a token only as localhost, not as %.200q", r.Host))
			return
		}
		next.ServeHTTP(w, r)
	})
}
