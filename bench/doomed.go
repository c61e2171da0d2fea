package main

import (
	"fmt"
	"time"

	"github.com/millrace-dev/millrace/bench/crowd"
)

const (
	doomedMembers = 1000
	doomedRooms   = 100
)

// restart kills a gateway with a thousand sockets, each a member of one of a hundred rooms, and waits until all have left.
func (a *assembly) restart() (err error) {
	fmt.Printf("\na gateway with %d WebSockets in %d rooms is killed (load of the machine %s)\n", doomedMembers, doomedRooms, loadOfMachine())
	g := gathering{assembly: a}
	dead := false
	defer func() {
		if dead {
			g.servers[1] = nil
		}
		if e := g.stop(); err == nil {
			err = e
		}
	}()
	if err := g.start(); err != nil {
		return err
	}
	if g.sdk, err = g.dial(); err != nil {
		return err
	}
	defer g.sdk.Close()
	rooms, paths := make([]string, doomedRooms), make([]string, doomedMembers)
	for i := range rooms {
		rooms[i] = fmt.Sprintf("small:%d", i)
	}
	for i := range paths {
		paths[i] = "/v1/ws?join=" + rooms[i%doomedRooms]
	}
	everyone := newAudience()
	members, err := connectEach(everyone, g.servers[1].address, paths)
	if err != nil {
		return err
	}
	defer members.close()
	if err := everyone.await(doomedMembers, doomedMembers/doomedRooms); err != nil {
		return err
	}
	d, err := crowd.Follow(g.sdk, rooms...)
	if err != nil {
		return err
	}
	defer d.Stop()
	killed := time.Now()
	dead = true
	if err := g.servers[1].kill(); err != nil {
		return err
	}
	if err := until(d.Done, 3*a.lease); err != nil {
		return err
	}
	leaves, err := d.Leaves()
	switch {
	case d.Err != nil:
		return d.Err
	case err != nil:
		return err
	case leaves != doomedMembers || d.Missed > 0:
		return fmt.Errorf("%d leaves were told, %d in gaps, of %d", leaves, d.Missed, doomedMembers)
	}
	fmt.Printf("  the first leave came after %.2f s (lease term %v), the last %.1f ms after the first: %d, each once\n", d.Began.Sub(killed).Seconds(),
		a.lease, float64(d.Ended.Sub(d.Began))/1e6, leaves)
	return nil
}
