package broker

import (
	"context"
	"sync"
)

// waker wakes the subscriptions of hubs that have many, away from the append that had the news.
type waker struct {
	signal chan struct{} // has an item if hubs is not empty

	mu   sync.Mutex
	hubs map[*hub]struct{} // protected by mu; those with news
}

func newWaker() *waker {
	return &waker{signal: make(chan struct{}, 1), hubs: map[*hub]struct{}{}}
}

// add says that a hub has news. It does not wait.
func (w *waker) add(h *hub) {
	w.mu.Lock()
	w.hubs[h] = struct{}{}
	w.mu.Unlock()
	select {
	case w.signal <- struct{}{}:
	default:
	}
}

func (w *waker) run(ctx context.Context) {
	var hubs []*hub
	var subs []*subscription
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.signal:
		}
		w.mu.Lock()
		for h := range w.hubs {
			hubs = append(hubs, h)
		}
		clear(w.hubs)
		w.mu.Unlock()
		for _, h := range hubs {
			h.mu.Lock()
			subs = append(subs, h.subs...)
			h.mu.Unlock()
			for _, s := range subs {
				s.feed.ready.push(s)
			}
			clear(subs)
			subs = subs[:0]
		}
		clear(hubs)
		hubs = hubs[:0]
	}
}
