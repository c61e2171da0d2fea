package millrace_test

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/millrace-dev/millrace"
)

// A random filter is made as a text and, beside it, as a plain reading of the rules.
func TestARandomFilterIsReadAsThePlainRulesSay(t *testing.T) {
	m := filterMaker{rand.New(rand.NewPCG(1, 2))}
	passed, failed := 0, 0
	for range 5_000 {
		text, plain := m.filter(3)
		if len(text) > millrace.MaxFilterBytes || len(plain.tests()) > millrace.MaxFilterTests {
			continue
		}
		f := parse(t, text)
		roundTrips(t, text, f)
		again := parse(t, f.String())
		for range 8 {
			e := m.event()
			want := plain.passes(e)
			if got := f.Passes(e); got != want || again.Passes(e) != want {
				t.Fatalf("%s\nwritten %s passes %+v: %v, want %v", text, f, e, got, want)
			}
			if want {
				passed++
			} else {
				failed++
			}
		}
	}
	if min(passed, failed) < 10_000 {
		t.Errorf("%d passed and %d failed, which shows too little", passed, failed)
	}
}

// plainFilter is a test, or parts joined by op.
type plainFilter struct {
	op     string // "!", "&&", "||", or that of a test; empty for a field alone
	parts  []plainFilter
	field  string // name, key, content_type or subject; or else empty
	header string
	texts  []string // what it is compared with,
	number []bool   // and whether as a number
}

func (p plainFilter) tests() []plainFilter {
	if p.op != "!" && p.op != "&&" && p.op != "||" {
		return []plainFilter{p}
	}
	var all []plainFilter
	for _, part := range p.parts {
		all = append(all, part.tests()...)
	}
	return all
}

func (p plainFilter) passes(e *millrace.Event) bool {
	passes := func(part plainFilter) bool { return part.passes(e) }
	switch p.op {
	case "!":
		return !passes(p.parts[0])
	case "&&":
		return !slices.ContainsFunc(p.parts, func(part plainFilter) bool { return !passes(part) })
	case "||":
		return slices.ContainsFunc(p.parts, passes)
	case "!=":
		p.op = "=="
		return !p.passes(e)
	}
	values := []string{}
	switch p.field {
	case "name":
		values = append(values, e.Name)
	case "key":
		values = append(values, e.Key)
	case "subject":
		values = append(values, e.Sender.Subject)
	case "content_type":
		values = append(values, e.ContentType)
		if e.ContentType == "" {
			values[0] = "application/json"
		}
	default:
		for _, h := range e.Headers {
			if h.Name == p.header {
				values = append(values, h.Value)
			}
		}
	}
	if p.op == "" {
		return len(values) > 0 && (p.field == "" || values[0] != "")
	}
	return slices.ContainsFunc(values, p.holds)
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$`)

func (p plainFilter) holds(value string) bool {
	for i, text := range p.texts {
		if !p.number[i] {
			if p.op == "^=" && strings.HasPrefix(value, text) || p.op != "^=" && value == text {
				return true
			}
			continue
		}
		if !jsonNumber.MatchString(value) {
			continue
		}
		c := rational(value).Cmp(rational(text))
		switch p.op {
		case "==", "in":
			if c == 0 {
				return true
			}
		case "<":
			return c < 0
		case "<=":
			return c <= 0
		case ">":
			return c > 0
		case ">=":
			return c >= 0
		}
	}
	return false
}

func rational(text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		panic("not a number: " + text)
	}
	return r
}

// filterMaker makes filters and events of few words, so that they meet.
type filterMaker struct{ *rand.Rand }

var (
	headerNames = []string{"a", "in", "x y", "5-_", ""}
	fieldValues = []string{"", "a", "ab", "abc", "\"\\\n\t\r€😀", "0", "-0", "1", "1.0", "10e-1", "-1", "0.5", "5E-1", "12", "120e-1", "007", "+1", "1.", ".5", " 1", "1e"}
)

func (m filterMaker) pick(from ...string) string { return from[m.IntN(len(from))] }

func (m filterMaker) blank() string { return m.pick("", "", " ", "\n", "\t\r ") }

// filter makes joins of this depth at most.
func (m filterMaker) filter(depth int) (string, plainFilter) {
	if depth == 0 || m.IntN(4) == 0 {
		return m.test()
	}
	if m.IntN(3) == 0 {
		text, part := m.group(depth - 1)
		return "!" + m.blank() + text, plainFilter{op: "!", parts: []plainFilter{part}}
	}
	p := plainFilter{op: m.pick("&&", "||")}
	var texts []string
	for range 2 + m.IntN(2) {
		text, part := m.group(depth - 1)
		texts, p.parts = append(texts, text), append(p.parts, part)
	}
	return strings.Join(texts, m.blank()+p.op+m.blank()), p
}

// group makes what may stand beside any sign: parentheses are only left out where none of the rules needs them.
func (m filterMaker) group(depth int) (string, plainFilter) {
	text, p := m.filter(depth)
	if p.op == "&&" || p.op == "||" || m.IntN(5) == 0 {
		text = "(" + m.blank() + text + m.blank() + ")"
	}
	return text, p
}

func (m filterMaker) test() (string, plainFilter) {
	p := plainFilter{op: m.pick("", "==", "!=", "^=", "<", "<=", ">", ">=", "in"), field: m.pick("name", "key", "content_type", "subject", "", "", "")}
	text := p.field
	if text == "" {
		p.header = m.pick(headerNames...)
		text = "header." + p.header
		if p.header == "" || strings.Contains(p.header, " ") || m.IntN(3) == 0 {
			text = "header[" + m.blank() + m.quoted(p.header) + m.blank() + "]"
		}
	}
	switch p.op {
	case "":
		return text, p
	case "in":
		var list []string
		for range 1 + m.IntN(3) {
			list = append(list, m.blank()+m.value(&p)+m.blank())
		}
		return text + " in" + m.blank() + "(" + strings.Join(list, ",") + ")", p
	}
	return text + m.blank() + p.op + m.blank() + m.value(&p), p
}

func (m filterMaker) value(p *plainFilter) string {
	text := m.pick(fieldValues...)
	ordered := strings.ContainsAny(p.op, "<>")
	for ordered && !jsonNumber.MatchString(text) {
		text = m.pick(fieldValues...)
	}
	number := ordered || p.op != "^=" && jsonNumber.MatchString(text) && m.IntN(4) > 0
	p.texts, p.number = append(p.texts, text), append(p.number, number)
	if number {
		return text
	}
	return m.quoted(text)
}

// quoted writes a string with more escapes than it needs.
func (m filterMaker) quoted(text string) string {
	var b strings.Builder
	for _, r := range text {
		short := map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\t': `\t`}[r]
		switch {
		case short != "" && m.IntN(2) == 0:
			b.WriteString(short)
		case short != "" || r < ' ' || r < 0x10000 && m.IntN(3) == 0:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r >= 0x10000 && m.IntN(2) == 0:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04X`, high, low)
		default:
			b.WriteRune(r)
		}
	}
	return `"` + b.String() + `"`
}

func (m filterMaker) event() *millrace.Event {
	e := &millrace.Event{
		Name: m.pick(fieldValues...), Key: m.pick(fieldValues...), ContentType: m.pick(fieldValues...), Sender: millrace.Sender{Subject: m.pick(fieldValues...)},
	}
	for range m.IntN(6) {
		e.Headers = append(e.Headers, millrace.Header{Name: m.pick(headerNames...), Value: m.pick(fieldValues...)})
	}
	return e
}
