package memlog

import "time"

// sweep lets go, from time to time, of what has outlived its rule. It runs until the log is closed.
func (l *Log) sweep() {
	ticker := time.NewTicker(l.cfg.SweepInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		for i := range l.shards {
			l.sweepShard(&l.shards[i])
		}
	}
}

func (l *Log) sweepShard(s *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := l.now()
	for name, t := range s.topics {
		if !t.born() {
			continue
		}
		l.settle(t.expire(now))
		if t.outlived(now) {
			delete(s.topics, name)
			l.settle(t.charge())
			l.topics.Add(-1)
		}
	}
}
