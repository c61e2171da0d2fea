package memlog

// Counted returns how many topics the log counts.
func (l *Log) Counted() int64 { return l.topics.Load() }

// Bytes returns what the log is charged for.
func (l *Log) Bytes() int64 { return l.bytes.Load() }

// Held returns how many places, members, subjects and holders the roster has in memory.
func (r *Roster) Held() (places, members, subjects, holders int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, in := range r.rooms {
		places += cap(in.line)
	}
	return places, len(r.members), len(r.subjects), len(r.holders)
}
