package memlog

// Counted returns how many topics the log counts.
func (l *Log) Counted() int64 { return l.topics.Load() }

// Bytes returns what the log is charged for.
func (l *Log) Bytes() int64 { return l.bytes.Load() }
