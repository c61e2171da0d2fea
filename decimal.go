package millrace

import (
	"cmp"
	"strconv"
	"strings"
)

// decimal is a number by its digits. Two are compared exactly: as float64, neighbouring ids of 17 digits would be equal.
// Its strings are parts of the text that it was read from, so reading one allocates nothing.
type decimal struct {
	sign     int    // -1, 0 or 1
	whole    string // the digits from the first that is not zero: those before the point as it was written
	fraction string // and those after it
	point    int    // where the point is, counted from the first digit
}

// The largest exponent keeps point within an int of 32 bits.
const maxExponentDigits = 9

// parseDecimal reads a text that is one number as in JSON (RFC 8259, section 6), of at most MaxFilterNumberBytes.
func parseDecimal(text string) (d decimal, ok bool) {
	if text == "" || len(text) > MaxFilterNumberBytes || numberLength(text) != len(text) {
		return decimal{}, false
	}
	d.sign = 1
	if rest, negative := strings.CutPrefix(text, "-"); negative {
		d.sign, text = -1, rest
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		if d.point, ok = parseExponent(text[i+1:]); !ok {
			return decimal{}, false
		}
		text = text[:i]
	}
	d.whole, d.fraction, _ = strings.Cut(text, ".")
	if d.whole == "0" {
		significant := strings.TrimLeft(d.fraction, "0")
		d.point -= len(d.fraction) - len(significant)
		d.whole, d.fraction = "", significant
	}
	if d.whole == "" && d.fraction == "" {
		return decimal{}, true // zero has no sign, and its exponent says nothing
	}
	d.point += len(d.whole)
	return d, true
}

func parseExponent(text string) (int, bool) {
	sign := 1
	switch text[0] {
	case '-':
		sign, text = -1, text[1:]
	case '+':
		text = text[1:]
	}
	text = strings.TrimLeft(text, "0")
	if text == "" {
		return 0, true
	}
	if len(text) > maxExponentDigits {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return sign * n, err == nil
}

// numberLength returns how many bytes at the beginning of text are a number as in JSON; 0: none.
func numberLength(text string) int {
	n := 0
	if strings.HasPrefix(text, "-") {
		n = 1
	}
	switch whole := digits(text[n:]); {
	case whole == 0:
		return 0
	case text[n] == '0':
		n++ // a digit after it is none of the number
	default:
		n += whole
	}
	if n < len(text) && text[n] == '.' {
		fraction := digits(text[n+1:])
		if fraction == 0 {
			return n
		}
		n += 1 + fraction
	}
	if n < len(text) && (text[n] == 'e' || text[n] == 'E') {
		at := n + 1
		if at < len(text) && (text[at] == '-' || text[at] == '+') {
			at++
		}
		if exponent := digits(text[at:]); exponent > 0 {
			n = at + exponent
		}
	}
	return n
}

// digits counts the digits at the beginning of text.
func digits(text string) int {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return n
}

// compare returns -1 if d is less than o, 0 if they are equal, and 1 if it is more.
func (d decimal) compare(o decimal) int {
	if d.sign != o.sign {
		return cmp.Compare(d.sign, o.sign)
	}
	c := cmp.Compare(d.point, o.point)
	most := max(len(d.whole)+len(d.fraction), len(o.whole)+len(o.fraction))
	for i := 0; c == 0 && i < most; i++ {
		c = cmp.Compare(d.digit(i), o.digit(i))
	}
	return c * d.sign
}

func (d decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	if i -= len(d.whole); i < len(d.fraction) {
		return d.fraction[i]
	}
	return '0'
}
