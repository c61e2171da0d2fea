package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/millrace-dev/millrace"
)

// Origins is the one list of pages that may use the gateway from a browser: by WebSocket, EventSource or fetch. Pages of
// the gateway's own host always may, and so may whoever sends no Origin, which browsers do not let a page leave out. A
// nil Origins is an empty list. It may be used concurrently.
type Origins struct {
	any      bool
	exact    map[string]bool
	suffixes []suffix
}

// suffix is any host below a domain.
type suffix struct{ scheme, domain string }

// NewOrigins reads a list of origins such as https://app.example.com. https://*.example.com is any host below that
// domain, "null" is pages without an origin of their own (files, sandboxes) and "*" is every page. It reports every
// fault at once.
func NewOrigins(list []string) (*Origins, error) {
	o := &Origins{exact: map[string]bool{}}
	var faults []error
	for _, item := range list {
		switch u, err := url.Parse(item); {
		case item == "*":
			o.any = true
		case item == "null":
			o.exact[item] = true
		case err != nil || u.Scheme == "" || u.Host == "" || item != u.Scheme+"://"+u.Host:
			faults = append(faults, fmt.Errorf("origin %q: want scheme://host or scheme://host:port and nothing behind it", item))
		case strings.HasPrefix(u.Host, "*."):
			o.suffixes = append(o.suffixes, suffix{scheme: strings.ToLower(u.Scheme), domain: strings.ToLower(withoutDefaultPort(u)[1:])})
		case strings.Contains(u.Host, "*"):
			faults = append(faults, fmt.Errorf("origin %q: * can only stand for the beginning of a host, as in https://*.example.com", item))
		default:
			o.exact[strings.ToLower(u.Scheme+"://"+withoutDefaultPort(u))] = true
		}
	}
	return o, errors.Join(faults...)
}

// withoutDefaultPort returns a URL's host as browsers write it in Origin: without a port that its scheme implies.
func withoutDefaultPort(u *url.URL) string {
	switch u.Scheme {
	case "http":
		return strings.TrimSuffix(u.Host, ":80")
	case "https":
		return strings.TrimSuffix(u.Host, ":443")
	}
	return u.Host
}

// Allows reports whether the page that sent a request may.
func (o *Origins) Allows(r *http.Request) bool {
	origin := strings.ToLower(r.Header.Get("Origin"))
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	if err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host) {
		return true
	}
	if o == nil {
		return false
	}
	if o.any || o.exact[origin] {
		return true
	}
	if err != nil {
		return false
	}
	for _, s := range o.suffixes {
		if u.Scheme == s.scheme && strings.HasSuffix(u.Host, s.domain) {
			return true
		}
	}
	return false
}

// Admit refuses a request whose page may not make it, and otherwise adds to h what lets the page read the answer.
func (o *Origins) Admit(h http.Header, r *http.Request) *millrace.Error {
	h.Add("Vary", "Origin")
	if !o.Allows(r) {
		return millrace.Errorf(millrace.ReasonOrigin, "pages of %.200q may not use this gateway", r.Header.Get("Origin"))
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", "Retry-After")
	}
	return nil
}

// preflight answers what a browser asks before a page's request (Fetch standard, CORS-preflight).
func preflight(h http.Header, methods string) {
	h.Set("Access-Control-Allow-Methods", methods)
	h.Set("Access-Control-Allow-Headers", strings.Join([]string{
		"Authorization", "Content-Type", "Cache-Control", "Last-Event-ID", headerCursor, headerID, headerName, headerKey, headerTombstone, headerExpect,
	}, ", "))
	h.Set("Access-Control-Max-Age", "600")
}
