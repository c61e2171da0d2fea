package broker

// TailsCharged returns what the tails of all topics are charged for, in bytes.
func (b *Broker) TailsCharged() int64 { return b.tails.Load() }

// Followed returns how many topics have a hub.
func (b *Broker) Followed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.hubs)
}

// Kept returns how many leases the broker keeps or remembers.
func (b *Broker) Kept() int {
	b.keeper.mu.Lock()
	defer b.keeper.mu.Unlock()
	return len(b.keeper.kept)
}
