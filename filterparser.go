package millrace

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseFilter reads a filter's text, which is the same on every wire:
//
//	name == "price" && (header.region ^= "eu-" || header["x y"] in ("a", "b")) && !(header.price <= 10.5) && header.trace
//
// Tests are joined by "||", by "&&", which binds closer, and parentheses; "!" negates the test or the parentheses that
// follow. Blanks may stand between any two words and signs. A test is one of
//
//	FIELD                     it is there: a header, or any other field that is not empty
//	FIELD == VALUE            and "!=", which is exactly the opposite
//	FIELD in (VALUE, VALUE)   it equals one of them
//	FIELD ^= STRING           it begins so
//	FIELD < NUMBER            and "<=", ">", ">="
//
// FIELD is name, key, content_type (where an empty one is application/json), subject (of the sender), or a header:
// header.WORD of letters, digits, "_" and "-", or header["any name"]. A header that an event has several times passes if
// one of its values does; one that it does not have passes no test but "!=". VALUE is a string in double quotes with the
// escapes \" \\ \n \t and \uXXXX, compared byte by byte; or a number as in JSON. With a number a field is compared by its
// value, exactly; a field that is no number passes no test but "!=". Numbers have at most MaxFilterNumberBytes, and
// exponents 9 digits.
//
// The filter of an empty or blank text is nil. The error is a *Error with ReasonFilterInvalid whose message says what was
// expected at which byte, counted from 0.
func ParseFilter(text string) (*Filter, error) {
	if len(text) > MaxFilterBytes {
		return nil, Errorf(ReasonFilterInvalid, "the filter has %d bytes; at most %d are allowed", len(text), MaxFilterBytes)
	}
	p := &filterParser{text: text}
	if p.rest() == "" {
		return nil, nil //nolint:nilnil // no filter is a filter that passes all
	}
	root, err := p.anyOf()
	if err != nil {
		return nil, err
	}
	if p.rest() != "" {
		return nil, p.expected("an operator or the end")
	}
	return &Filter{root: root}, nil
}

// filterParser reads from left to right and never goes back.
type filterParser struct {
	text  string
	at    int // the byte that is read next
	open  int // parentheses that are open
	tests int // that were read
}

func (p *filterParser) anyOf() (clause, error) { return p.joined(joinOr, p.allOf) }

func (p *filterParser) allOf() (clause, error) { return p.joined(joinAnd, p.single) }

func (p *filterParser) joined(by join, operand func() (clause, error)) (clause, error) {
	first, err := operand()
	if err != nil || !p.take(string(by)) {
		return first, err
	}
	all := clause{join: by}
	all.absorb(first)
	for {
		next, err := operand()
		if err != nil {
			return clause{}, err
		}
		all.absorb(next)
		if !p.take(string(by)) {
			return all, nil
		}
	}
}

// absorb adds a part to a join. What parentheses joined in the same way needs none, and they are not kept.
func (c *clause) absorb(part clause) {
	if part.join == c.join && !part.negated {
		c.parts = append(c.parts, part.parts...)
	} else {
		c.parts = append(c.parts, part)
	}
}

func (p *filterParser) single() (clause, error) {
	negated := false
	for p.take("!") {
		negated = !negated
	}
	read := p.comparison
	if p.take("(") {
		read = p.parenthesized
	}
	c, err := read()
	c.negated = c.negated != negated
	return c, err
}

// parenthesized reads what follows an opening parenthesis.
func (p *filterParser) parenthesized() (clause, error) {
	if p.open++; p.open > MaxFilterNesting {
		return clause{}, Errorf(ReasonFilterInvalid, "byte %d of the filter: more than %d parentheses are open", p.at-1, MaxFilterNesting)
	}
	c, err := p.anyOf()
	if err != nil {
		return clause{}, err
	}
	if !p.take(")") {
		return clause{}, p.expected(`an operator or ")"`)
	}
	p.open--
	return c, nil
}

// comparisons are what may stand between a field and one value, longer ones before those that they begin with.
var comparisons = []struct {
	text    string
	op      operator
	negated bool
}{
	{"==", opEqual, false},
	{"!=", opEqual, true},
	{"^=", opPrefix, false},
	{"<=", opLessEqual, false},
	{"<", opLess, false},
	{">=", opMoreEqual, false},
	{">", opMore, false},
}

func (p *filterParser) comparison() (clause, error) {
	field, header, err := p.field()
	if err != nil {
		return clause{}, err
	}
	c := clause{test: test{field: field, header: header}}
	if p.word() == "in" {
		p.at += len("in")
		c.test.op = opEqual
		c.test.values, err = p.list()
		return c, err
	}
	for _, comparison := range comparisons {
		if p.take(comparison.text) {
			c.test.op, c.negated = comparison.op, comparison.negated
			v, err := p.value(comparison.op)
			c.test.values = []value{v}
			return c, err
		}
	}
	return c, nil
}

func (p *filterParser) field() (f field, header string, err error) {
	word := p.word()
	i := slices.Index(fieldTexts[:], word)
	if i < 0 {
		return 0, "", p.expected(`name, key, content_type, subject, header.NAME or header["NAME"]`)
	}
	if p.tests++; p.tests > MaxFilterTests {
		return 0, "", Errorf(ReasonFilterInvalid, "byte %d of the filter: there are more than %d tests", p.at, MaxFilterTests)
	}
	p.at += len(word)
	if f = field(i); f == fieldHeader {
		header, err = p.header()
	}
	return f, header, err
}

// header reads the name of a header, in either form.
func (p *filterParser) header() (string, error) {
	switch {
	case p.take("."):
		name := p.word()
		if name == "" {
			return "", p.expected("a header's name")
		}
		p.at += len(name)
		return name, nil
	case p.take("["):
		if !strings.HasPrefix(p.rest(), `"`) {
			return "", p.expected("a header's name in quotes")
		}
		name, err := p.quoted()
		if err == nil && !p.take("]") {
			err = p.expected(`"]"`)
		}
		return name, err
	}
	return "", p.expected(`"." or "["`)
}

// list reads the values that follow "in".
func (p *filterParser) list() ([]value, error) {
	if !p.take("(") {
		return nil, p.expected(`"("`)
	}
	var values []value
	for {
		v, err := p.value(opEqual)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		if p.take(")") {
			return values, nil
		}
		if !p.take(",") {
			return nil, p.expected(`"," or ")"`)
		}
	}
}

// value reads what the operator can compare with.
func (p *filterParser) value(op operator) (value, error) {
	texts, numbers := op == opEqual || op == opPrefix, op != opPrefix
	rest := p.rest()
	if texts && strings.HasPrefix(rest, `"`) {
		text, err := p.quoted()
		return value{text: text}, err
	}
	if n := numberLength(rest); numbers && n > 0 {
		number, ok := parseDecimal(rest[:n])
		if !ok {
			return value{}, Errorf(ReasonFilterInvalid, "byte %d of the filter: a number has at most %d bytes, and its exponent %d digits", p.at, MaxFilterNumberBytes, maxExponentDigits)
		}
		p.at += n
		return value{text: rest[:n], number: number, numeric: true}, nil
	}
	switch {
	case !numbers:
		return value{}, p.expected("a string in double quotes")
	case !texts:
		return value{}, p.expected("a number")
	}
	return value{}, p.expected("a string in double quotes or a number")
}

// quoted reads a string, at whose opening quote it is called.
func (p *filterParser) quoted() (string, error) {
	var b []byte
	for p.at++; p.at < len(p.text); {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return string(b), nil
		case c == '\\':
			r, n := unescape(p.text[p.at:])
			if n == 0 {
				return "", p.expected(`one of the escapes \" \\ \n \t and \uXXXX`)
			}
			b = utf8.AppendRune(b, r)
			p.at += n
		case c < ' ':
			return "", p.expected("an escape in place of a control character")
		default:
			r, n := utf8.DecodeRuneInString(p.text[p.at:])
			if r == utf8.RuneError && n == 1 {
				return "", p.expected("UTF-8")
			}
			b = utf8.AppendRune(b, r)
			p.at += n
		}
	}
	return "", p.expected("a closing quote")
}

// unescape reads the escape at the beginning of text: one character, and how many bytes stand for it; 0: it is none.
func unescape(text string) (rune, int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch text[1] {
	case '"', '\\':
		return rune(text[1]), 2
	case 'n':
		return '\n', 2
	case 't':
		return '\t', 2
	}
	r, ok := unescapeUnit(text)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := unescapeUnit(text[6:])
	if r = utf16.DecodeRune(r, low); !ok || r == utf8.RuneError {
		return 0, 0 // half a character has no UTF-8
	}
	return r, 12
}

// unescapeUnit reads one \uXXXX, a unit of UTF-16.
func unescapeUnit(text string) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[2:6], 16, 16)
	return rune(n), err == nil
}

// rest skips blanks and returns what is not yet read.
func (p *filterParser) rest() string {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	return p.text[p.at:]
}

// word returns the word that comes next, without taking it.
func (p *filterParser) word() string {
	rest := p.rest()
	return rest[:wordLength(rest)]
}

// take reads the sign if it comes next.
func (p *filterParser) take(sign string) bool {
	if !strings.HasPrefix(p.rest(), sign) {
		return false
	}
	p.at += len(sign)
	return true
}

// expected is the error that something else should stand where the parser is.
func (p *filterParser) expected(what string) error {
	if p.at == len(p.text) {
		return Errorf(ReasonFilterInvalid, "byte %d of the filter: expected %s, but it ends", p.at, what)
	}
	return Errorf(ReasonFilterInvalid, "byte %d of the filter: expected %s, found %.16q", p.at, what, p.text[p.at:])
}
