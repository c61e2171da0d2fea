package millrace

// appendText appends the canonical text of the test, or of its opposite.
func (t *test) appendText(dst []byte, negated bool) []byte {
	unequal := negated && t.op == opEqual && len(t.values) == 1
	if negated && !unequal {
		dst = append(dst, '!')
	}
	dst = append(dst, fieldTexts[t.field]...)
	word := true
	if t.field == fieldHeader {
		if word = isWord(t.header); word {
			dst = append(append(dst, '.'), t.header...)
		} else {
			dst = append(appendQuoted(append(dst, '['), t.header), ']')
		}
	}
	switch {
	case t.op == opPresent:
		return dst
	case len(t.values) > 1:
		if word {
			dst = append(dst, ' ') // without it the field would go on
		}
		dst = append(dst, "in("...)
		for i := range t.values {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = t.values[i].appendText(dst)
		}
		return append(dst, ')')
	case unequal:
		dst = append(dst, "!="...)
	default:
		dst = append(dst, operatorTexts[t.op]...)
	}
	return t.values[0].appendText(dst)
}

func (v *value) appendText(dst []byte) []byte {
	if v.numeric {
		return append(dst, v.text...)
	}
	return appendQuoted(dst, v.text)
}

// appendQuoted appends a string in quotes. It escapes only what must be, which no shorter escape could have stood for.
func appendQuoted(dst []byte, text string) []byte {
	dst = append(dst, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c < ' ':
			const hex = "0123456789abcdef"
			dst = append(dst, `\u00`...)
			dst = append(dst, hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// isWord reports whether a header's name needs no quotes.
func isWord(text string) bool { return text != "" && wordLength(text) == len(text) }

// wordLength returns how many bytes at the beginning of text are letters, digits, "_" and "-".
func wordLength(text string) int {
	n := 0
	for n < len(text) && isWordByte(text[n]) {
		n++
	}
	return n
}

func isWordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}
