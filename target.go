package millrace

import "unicode/utf8"

// Target says which live sessions a command is for, wherever they are: one, or all of a subject.
type Target struct {
	Session string // its id
	Subject string // instead of Session
}

// maxTargetBytes is far more than any session's id or subject has.
const maxTargetBytes = 4096

// Validate returns a *Error with ReasonBadRequest if the target names nobody, or both a session and a subject.
func (t Target) Validate() error {
	name := t.Session + t.Subject
	switch {
	case name == "":
		return Errorf(ReasonBadRequest, "a command to sessions needs a session or a subject")
	case t.Session != "" && t.Subject != "":
		return Errorf(ReasonBadRequest, "a command to sessions is for a session or for a subject, not for both")
	case len(name) > maxTargetBytes || !utf8.ValidString(name):
		return Errorf(ReasonBadRequest, "a session's id and a subject are UTF-8 of at most %d bytes", maxTargetBytes)
	}
	return nil
}

// String returns whom the target means, for people.
func (t Target) String() string {
	if t.Session != "" {
		return "session " + t.Session
	}
	return "sessions of " + t.Subject
}
