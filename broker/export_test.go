package broker

// TailsCharged returns what the tails of all topics are charged for, in bytes.
func (b *Broker) TailsCharged() int64 { return b.tails.Load() }

// Followed returns how many topics have a hub.
func (b *Broker) Followed() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.hubs)
}
