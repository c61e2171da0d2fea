package millrace

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTopicBytes bounds a topic's name. A reserved topic that is named after another may have MaxReservedBytes, so that
// every topic can have its own, such as "$presence:TOPIC".
const (
	MaxTopicBytes    = 255
	MaxReservedBytes = MaxTopicBytes + 16
)

// ReservedPrefix starts the names of topics that only the broker publishes to.
const ReservedPrefix = "$"

// ValidateTopic reports whether name is a topic: 1 to 255 bytes of UTF-8 (more if it is reserved, see MaxReservedBytes), in non-empty segments joined by ":", without
// white space, control characters, "*", "," or "%". The error is a *Error with ReasonTopicInvalid.
func ValidateTopic(name string) error {
	limit := MaxTopicBytes
	if Reserved(name) {
		limit = MaxReservedBytes
	}
	switch {
	case name == "":
		return Errorf(ReasonTopicInvalid, "the topic is empty")
	case len(name) > limit:
		return Errorf(ReasonTopicInvalid, "the topic has %d bytes; at most %d are allowed", len(name), limit)
	case name[0] == ':' || name[len(name)-1] == ':' || strings.Contains(name, "::"):
		return Errorf(ReasonTopicInvalid, "topic %q has an empty segment", name)
	}
	for i, r := range name {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(name[i:]); n == 1 {
				return Errorf(ReasonTopicInvalid, "the topic is not UTF-8")
			}
		}
		if strings.ContainsRune("*,%", r) || unicode.IsSpace(r) || unicode.IsControl(r) {
			return Errorf(ReasonTopicInvalid, "topic %q has a character that is not allowed: %q", name, r)
		}
	}
	return nil
}

// Reserved reports whether only the broker may publish to the topic.
func Reserved(topic string) bool { return strings.HasPrefix(topic, ReservedPrefix) }

// Pattern matches topics: a topic in which a segment "*" stands for any one segment, and a last segment "**" for one or
// more. The pattern "**" alone matches every topic that is not reserved; reserved topics match only patterns that name
// their first segment.
type Pattern string

// Validate reports whether p is a pattern. The error is a *Error with ReasonTopicInvalid.
func (p Pattern) Validate() error {
	segments := strings.Split(string(p), ":")
	for i, s := range segments {
		if s == "**" && i != len(segments)-1 {
			return Errorf(ReasonTopicInvalid, "pattern %q: \"**\" may only be the last segment", string(p))
		}
		if s == "*" || s == "**" {
			segments[i] = "x"
		}
	}
	if err := ValidateTopic(strings.Join(segments, ":")); err != nil {
		return Errorf(ReasonTopicInvalid, "pattern %q: segments are \"*\", a last \"**\", or those of a topic", string(p))
	}
	return nil
}

// Matches reports whether the pattern, which must be valid, covers the topic.
func (p Pattern) Matches(topic string) bool {
	pattern := string(p)
	if Reserved(topic) && !strings.HasPrefix(pattern, ReservedPrefix) {
		return false
	}
	for {
		want, restWanted, moreWanted := strings.Cut(pattern, ":")
		if want == "**" {
			return true
		}
		got, restGot, moreGot := strings.Cut(topic, ":")
		if want != "*" && want != got {
			return false
		}
		if !moreWanted || !moreGot {
			return moreWanted == moreGot
		}
		pattern, topic = restWanted, restGot
	}
}

// Covers reports whether every topic that q matches, whatever its length, is matched by p. Both must be valid; a topic is
// a pattern too.
func (p Pattern) Covers(q Pattern) bool {
	if strings.HasSuffix(string(q), "**") && !strings.HasSuffix(string(p), "**") {
		return false // topics of q are longer than any of p
	}
	// Read as a topic, q has segments that no topic has: only stars of p stand for its stars.
	return p.Matches(string(q))
}

// IsTopic reports whether the pattern, which must be valid, names exactly one topic.
func (p Pattern) IsTopic() bool { return !strings.Contains(string(p), "*") }
