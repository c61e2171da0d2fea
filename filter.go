package millrace

import "strings"

// Bounds of a filter. It is read for each subscription and evaluated for each event, both on behalf of a stranger.
const (
	MaxFilterBytes       = 1024 // of its text
	MaxFilterTests       = 64   // tests in one filter
	MaxFilterNesting     = 16   // parentheses within parentheses
	MaxFilterNumberBytes = 64   // of a number, in a filter or an event; what is longer is no number
)

// Filter chooses events by what is told about them; it does not look at their data. ParseFilter makes one. A nil filter
// chooses all. A filter is immutable and may be used by any number of goroutines.
type Filter struct {
	root clause
}

// Passes reports whether the filter chooses the event. It allocates nothing, and looks at each header at most once for
// each test.
func (f *Filter) Passes(e *Event) bool { return f == nil || f.root.passes(e) }

// String returns the filter's canonical text: ParseFilter reads it as an equal filter, and it is never longer than what
// the filter was read from. It is empty for nil.
func (f *Filter) String() string {
	if f == nil {
		return ""
	}
	return string(f.root.appendText(nil))
}

// clause is one test, or several clauses joined; or the opposite of either.
type clause struct {
	negated bool
	join    join
	parts   []clause // of a join: two or more, none of which could as well be several of its own
	test    test     // otherwise
}

type join string

const (
	joinNone join = ""
	joinAnd  join = "&&"
	joinOr   join = "||"
)

func (c *clause) passes(e *Event) bool {
	if c.join == joinNone {
		return c.test.passes(e) != c.negated
	}
	decides := c.join == joinOr // what one part may say that settles it
	for i := range c.parts {
		if c.parts[i].passes(e) == decides {
			return decides != c.negated
		}
	}
	return decides == c.negated
}

func (c *clause) appendText(dst []byte) []byte {
	if c.join == joinNone {
		return c.test.appendText(dst, c.negated)
	}
	if c.negated {
		dst = append(dst, "!("...)
	}
	for i := range c.parts {
		part := &c.parts[i]
		if i > 0 {
			dst = append(dst, c.join...)
		}
		if part.join == joinOr && !part.negated {
			dst = append(part.appendText(append(dst, '(')), ')')
		} else {
			dst = part.appendText(dst)
		}
	}
	if c.negated {
		dst = append(dst, ')')
	}
	return dst
}

// field is what a test looks at.
type field uint8

const (
	fieldName field = iota
	fieldKey
	fieldContentType
	fieldSubject
	fieldHeader
)

var fieldTexts = [...]string{fieldName: "name", fieldKey: "key", fieldContentType: "content_type", fieldSubject: "subject", fieldHeader: "header"}

// operator is how a test compares. There is none for "!=" and "in": the first is opEqual negated, the second opEqual with
// several values.
type operator uint8

const (
	opPresent operator = iota
	opEqual
	opPrefix
	opLess
	opLessEqual
	opMore
	opMoreEqual
)

var operatorTexts = [...]string{
	opPresent: "", opEqual: "==", opPrefix: "^=", opLess: "<", opLessEqual: "<=", opMore: ">", opMoreEqual: ">=",
}

// test compares one field.
type test struct {
	field  field
	header string // name of the header
	op     operator
	values []value // of opPresent none, of opEqual one or more, of others one
}

// value is what a field is compared with: a text, or a number and how it was written.
type value struct {
	text    string
	number  decimal
	numeric bool
}

func (t *test) passes(e *Event) bool {
	var text string
	switch t.field {
	case fieldName:
		text = e.Name
	case fieldKey:
		text = e.Key
	case fieldContentType:
		if text = e.ContentType; text == "" {
			text = "application/json" // which it means, and gateways tell the two apart no more
		}
	case fieldSubject:
		text = e.Sender.Subject
	case fieldHeader:
		for i := range e.Headers {
			if h := &e.Headers[i]; h.Name == t.header && t.holds(h.Value) {
				return true
			}
		}
		return false
	}
	if t.op == opPresent {
		return text != ""
	}
	return t.holds(text)
}

// holds reports whether the test holds for a field with this text.
func (t *test) holds(text string) bool {
	switch t.op {
	case opPresent:
		return true
	case opEqual:
		return t.equals(text)
	case opPrefix:
		return strings.HasPrefix(text, t.values[0].text)
	}
	number, ok := parseDecimal(text)
	if !ok {
		return false
	}
	c := number.compare(t.values[0].number)
	switch t.op {
	case opLess:
		return c < 0
	case opLessEqual:
		return c <= 0
	case opMore:
		return c > 0
	default:
		return c >= 0
	}
}

func (t *test) equals(text string) bool {
	var number decimal
	var read, ok bool
	for i := range t.values {
		v := &t.values[i]
		if !v.numeric {
			if text == v.text {
				return true
			}
			continue
		}
		if !read {
			number, ok = parseDecimal(text)
			read = true
		}
		if ok && number.compare(v.number) == 0 {
			return true
		}
	}
	return false
}
