package broker

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/millrace-dev/millrace"
)

// Bounds of an event's parts, in bytes of UTF-8.
const (
	MaxNameBytes        = 255 // of an event's id, name, key and content type
	MaxHeaders          = 32
	MaxHeaderNameBytes  = 128
	MaxHeaderValueBytes = 4096
)

// admit reports what keeps an event from being stored in a log of a class, or nil.
func admit(e *millrace.Event, class millrace.Class, maxData int) *millrace.Error {
	if err := millrace.ValidateTopic(e.Topic); err != nil {
		return millrace.AsError(err)
	}
	if len(e.Data) > maxData {
		return millrace.Errorf(millrace.ReasonTooLarge, "the event's data has %d bytes; at most %d are allowed", len(e.Data), maxData)
	}
	for _, part := range [...]struct{ what, text string }{
		{"id", e.ID},
		{"name", e.Name},
		{"key", e.Key},
		{"content type", e.ContentType},
	} {
		if err := admitText(part.what, part.text, MaxNameBytes); err != nil {
			return err
		}
	}
	if len(e.Headers) > MaxHeaders {
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event has %d headers; at most %d are allowed", len(e.Headers), MaxHeaders)
	}
	for _, h := range e.Headers {
		if h.Name == "" {
			return millrace.Errorf(millrace.ReasonEventInvalid, "the event has a header without a name")
		}
		if err := admitText("header's name", h.Name, MaxHeaderNameBytes); err != nil {
			return err
		}
		if err := admitText("header's value", h.Value, MaxHeaderValueBytes); err != nil {
			return err
		}
	}
	if err := admitKey(e, class); err != nil || e.Tombstone {
		return err
	}
	switch millrace.PayloadOf(e.ContentType) {
	case millrace.PayloadJSON:
		// The JSON grammar alone does not make strings UTF-8, and a frame with such a string would end its receivers.
		if !json.Valid(e.Data) || !utf8.Valid(e.Data) {
			return millrace.Errorf(millrace.ReasonEventInvalid, "the event's data is not one JSON text in UTF-8, as its content type says")
		}
	case millrace.PayloadText:
		if !utf8.Valid(e.Data) {
			return millrace.Errorf(millrace.ReasonEventInvalid, "the event's data is not UTF-8 text, as its content type says")
		}
	}
	return nil
}

// admitKey holds an event to what class latest wants of its key, and others to what only class latest has.
func admitKey(e *millrace.Event, class millrace.Class) *millrace.Error {
	switch {
	case class == millrace.ClassLatest && e.Key == "":
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event has no key; topic %q is of class latest, which keeps the newest of each", e.Topic)
	case class != millrace.ClassLatest && e.Tombstone:
		return millrace.Errorf(millrace.ReasonUnsupported, "topic %q is of class %s, which has no tombstones", e.Topic, class)
	case e.Tombstone && len(e.Data) > 0:
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event is a tombstone and has data")
	}
	return nil
}

// admitText bounds a text that ends up in lines and header fields of several wires.
func admitText(what, text string, maxBytes int) *millrace.Error {
	switch {
	case len(text) > maxBytes:
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event's %s has %d bytes; at most %d are allowed", what, len(text), maxBytes)
	case !utf8.ValidString(text):
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event's %s is not UTF-8", what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return millrace.Errorf(millrace.ReasonEventInvalid, "the event's %s has a control character", what)
	}
	return nil
}

// admitRoom reports what keeps a topic from having members, or nil.
func admitRoom(topic string) *millrace.Error {
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.AsError(err)
	}
	if millrace.Reserved(topic) && topic != millrace.SessionsTopic {
		return millrace.Errorf(millrace.ReasonForbidden, "topic %q is reserved: it has no members", topic)
	}
	return nil
}

// admitChange returns a change of a member as it may be done, or what keeps it from that.
func admitChange(c millrace.MemberChange, maxData int) (millrace.MemberChange, *millrace.Error) {
	if c.Kind < millrace.MemberJoin || c.Kind > millrace.MemberLeave {
		return c, millrace.Errorf(millrace.ReasonBadRequest, "there is no change of a member of kind %d", c.Kind)
	}
	if err := admitRoom(c.Topic); err != nil {
		return c, err
	}
	if err := admitPart("session", c.Member.Session); err != nil {
		return c, err
	}
	if c.Member.Subject != "" {
		if err := admitPart("subject", c.Member.Subject); err != nil {
			return c, err
		}
	}
	if c.Reason == "" {
		c.Reason = millrace.LeftAsked
	}
	if err := admitPart("reason", c.Reason); err != nil {
		return c, err
	}
	var err *millrace.Error
	c.Member.Data, err = admitMemberData(c.Member.Data, maxData)
	return c, err
}

// admitMemberData returns what a member shows of itself without white space, as its events have it: so it can be compared byte
// for byte.
func admitMemberData(data []byte, maxData int) ([]byte, *millrace.Error) {
	switch {
	case len(data) == 0:
		return nil, nil
	case len(data) > maxData:
		return nil, millrace.Errorf(millrace.ReasonTooLarge, "the member's data has %d bytes; at most %d are allowed", len(data), maxData)
	case !utf8.Valid(data):
		return nil, millrace.Errorf(millrace.ReasonEventInvalid, "the member's data is not UTF-8")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return nil, millrace.Errorf(millrace.ReasonEventInvalid, "the member's data is not one JSON text").WithCause(err)
	}
	return compact.Bytes(), nil
}

// admitPart bounds a name that must be there, and ends up in events and header fields of several wires.
func admitPart(what, text string) *millrace.Error {
	switch {
	case text == "":
		return millrace.Errorf(millrace.ReasonBadRequest, "the %s is empty", what)
	case len(text) > MaxNameBytes:
		return millrace.Errorf(millrace.ReasonBadRequest, "the %s has %d bytes; at most %d are allowed", what, len(text), MaxNameBytes)
	case !utf8.ValidString(text):
		return millrace.Errorf(millrace.ReasonBadRequest, "the %s is not UTF-8", what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return millrace.Errorf(millrace.ReasonBadRequest, "the %s has a control character", what)
	}
	return nil
}
