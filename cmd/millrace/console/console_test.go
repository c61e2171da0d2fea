package console_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace/cmd/millrace/console"
)

func get(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	h, err := console.Handler()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
	return w
}

var reference = regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "(\./[^"]+)"`)

// The page needs nothing that is not embedded: no build step, no other host.
func TestThePageAndAllThatItNeedsAreEmbedded(t *testing.T) {
	pending, seen := []string{"/"}, map[string]bool{}
	for len(pending) > 0 {
		path := pending[0]
		pending = pending[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		w := get(t, http.MethodGet, path)
		if w.Code != http.StatusOK {
			t.Fatalf("%s is answered with %d", path, w.Code)
		}
		if strings.Contains(w.Body.String(), "https://") {
			t.Errorf("%s names another host", path)
		}
		for _, m := range reference.FindAllStringSubmatch(w.Body.String(), -1) {
			pending = append(pending, "/"+strings.TrimPrefix(m[1]+m[2], "./"))
		}
	}
	for _, path := range []string{
		"/console.css", "/console.js", "/wire.js", "/cursor.js", "/list.js", "/meter.js", "/icon.svg",
		"/chat.html", "/chat.css", "/chat.js", "/room.js", "/members.js", "/panel.js", "/transcript.js", "/typing.js",
	} {
		if !seen[path] {
			t.Errorf("%s is not used", path)
		}
	}
}

func TestThePageMayRunOnlyItsOwnScripts(t *testing.T) {
	for _, path := range []string{"/", "/chat.html"} {
		w := get(t, http.MethodGet, path)
		policy := w.Header().Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("the policy of %s lacks %s: %s", path, want, policy)
			}
		}
		body, err := io.ReadAll(w.Body)
		if err != nil {
			t.Fatal(err)
		}
		if regexp.MustCompile(`(?i)<script[^>]*>[^<]|<style|\son\w+=|style=`).Match(body) {
			t.Errorf("%s has scripts or styles within itself, which its policy does not let run", path)
		}
	}
}

func TestTheConsoleIsOnlyRead(t *testing.T) {
	if w := get(t, http.MethodPost, "/"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered with %d", w.Code)
	}
	if w := get(t, http.MethodGet, "/nothing"); w.Code != http.StatusNotFound {
		t.Errorf("a missing file is answered with %d", w.Code)
	}
}
