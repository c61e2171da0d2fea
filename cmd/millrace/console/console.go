// Package console holds the demo pages of millrace dev: a live console of events and a chat room, which speak the bare wires
// with nothing but WebSocket, EventSource and fetch. They are pages with their styles and scripts, embedded, without a build step.
package console

import (
	"embed"
	"io/fs"
	"net/http"
)

//go:embed page
var files embed.FS

// policy lets the page run only its own scripts and load nothing from elsewhere. It may connect to any server, since
// gateways stand on other origins.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src *; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the pages, the console's at the root path, with their files beside them.
func Handler() (http.Handler, error) {
	page, err := fs.Sub(files, "page")
	if err != nil {
		return nil, err
	}
	server := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the page's address may hold a token
		h.Set("Cache-Control", "no-cache")
		server.ServeHTTP(w, r)
	}), nil
}
