package settings

import (
	"fmt"
	"strings"
)

const (
	helpIndent = 30 // column of the text
	helpWidth  = 100
)

// Help returns a description of all settings with their defaults.
func (t *Table) Help() string {
	var b strings.Builder
	for _, s := range t.rows() {
		name := "  " + s.flag()
		if s.Value.fileOnly != nil {
			name = "  " + s.key() + ":"
		} else if s.Value.metavar != "" {
			name += " " + s.Value.metavar
		}
		doc := s.Doc
		switch {
		case s.Value.fileOnly != nil:
			doc += " (file only)"
		case s.Value.def != "" && !s.Secret:
			doc += " (default " + s.Value.def + ")"
		}
		for i, line := range wrap(doc, helpWidth-helpIndent) {
			if i > 0 || len(name) >= helpIndent {
				if i == 0 {
					b.WriteString(name + "\n")
				}
				name = ""
			}
			fmt.Fprintf(&b, "%-*s%s\n", helpIndent, name, line)
		}
	}
	return b.String()
}

// wrap breaks a text into lines of at most width bytes, where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
