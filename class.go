package millrace

// Class is how a topic keeps and delivers its events.
type Class int

// The classes.
const (
	ClassLog       Class = iota // every event is kept for a while and delivered in order, once, or told as a gap
	ClassLatest                 // of each key only the newest event is kept and owed; who is slow is told how many older ones were left out
	ClassEphemeral              // delivered to who is there: not kept, without positions; what a slow peer does not get is counted
)

var classNames = [...]string{ClassLog: "log", ClassLatest: "latest", ClassEphemeral: "ephemeral"}

// String returns the class's word on the wire.
func (c Class) String() string {
	if c < 0 || int(c) >= len(classNames) {
		return "unknown"
	}
	return classNames[c]
}

// ParseClass reads what String wrote. Empty is ClassLog.
func ParseClass(s string) (Class, bool) {
	if s == "" {
		return ClassLog, true
	}
	for c, name := range classNames {
		if name == s {
			return Class(c), true
		}
	}
	return 0, false
}
