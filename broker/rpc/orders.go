package rpc

import (
	"context"
	"sync"
)

// orders is what other goroutines ask of a stream's writer. Asking wakes it.
type orders struct {
	parent context.Context //nolint:containedctx // static; the call's, which ends all waits

	room chan struct{} // has an item if the writer took orders since an asker last looked

	mu      sync.Mutex
	waiting []func()           // protected by mu
	awake   context.Context    //nolint:containedctx // protected by mu; ends when there is an order, which wakes the writer from any wait
	wake    context.CancelFunc // protected by mu
}

// maxOrders bounds the orders of a reader that wait, and with them what one peer can have waiting that does not take its
// answers. Those from elsewhere are bounded by what they answer.
const maxOrders = 4

func newOrders(parent context.Context) *orders {
	o := &orders{parent: parent, room: make(chan struct{}, 1)}
	o.awake, o.wake = context.WithCancel(parent)
	return o
}

// ask adds an order and does not wait.
func (o *orders) ask(f func()) {
	o.mu.Lock()
	o.waiting = append(o.waiting, f)
	o.wake()
	o.mu.Unlock()
}

// askInTurn adds an order when there is room for it. One goroutine may call it. It fails when the call ends.
func (o *orders) askInTurn(f func()) error {
	for {
		o.mu.Lock()
		if len(o.waiting) < maxOrders {
			o.waiting = append(o.waiting, f)
			o.wake()
			o.mu.Unlock()
			return nil
		}
		o.mu.Unlock()
		select {
		case <-o.room:
		case <-o.parent.Done():
			return context.Cause(o.parent)
		}
	}
}

// take returns the orders that wait and a context that ends with the next one.
func (o *orders) take() (orders []func(), awake context.Context) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) > 0 {
		orders, o.waiting = o.waiting, nil
		o.awake, o.wake = context.WithCancel(o.parent)
		signal(o.room)
	}
	return orders, o.awake
}

// close frees what the context of the last take holds.
func (o *orders) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.wake()
}
