// Package settings reads what a command is told. A command has one [Table] of settings, and everything follows from it:
// the flags, the environment variables, the keys of the YAML file, the help text and the checks.
//
// A setting named ping-interval is the flag --ping-interval, the variable MILLRACE_PING_INTERVAL and the key
// ping_interval of the file. What a flag says counts before what the environment says, and that before the file. All
// faults are reported at once, each with where it stands; what a secret setting was given is never repeated.
package settings

import (
	"slices"
	"strings"
)

const (
	envPrefix = "MILLRACE_"

	// configName is the setting that names the YAML file. Every table has it.
	configName = "config"

	onlyInFile = "this can only be set in the file of --" + configName
)

// Setting is one row of a table.
type Setting struct {
	Name   string // lower case, words joined by hyphens
	Value  Value
	Doc    string // what it does, without a full stop
	Secret bool   // never printed

	// FlagOnly is for what belongs to one call, so that a variable that was left behind does not change it.
	FlagOnly bool
}

func (s *Setting) flag() string { return "--" + s.Name }
func (s *Setting) env() string  { return envPrefix + strings.ToUpper(s.key()) }
func (s *Setting) key() string  { return strings.ReplaceAll(s.Name, "-", "_") }

// Table is what one command can be told. It is used by one goroutine.
type Table struct {
	Settings []Setting

	// Elsewhere has, by name, the commands that know a setting. Their environment variables are passed over here, and a
	// flag or key of theirs is named as such.
	Elsewhere map[string][]string

	path  string
	where map[string]string
}

// Where says where a setting was told: the flag, the variable or the place in the file. For one that was not told it is
// the flag that would tell it.
func (t *Table) Where(name string) string {
	if w, ok := t.where[name]; ok {
		return w
	}
	return "--" + name
}

// Told reports whether a setting was told anywhere.
func (t *Table) Told(name string) bool {
	_, ok := t.where[name]
	return ok
}

// rows returns the settings with the one that every table has.
func (t *Table) rows() []Setting {
	return append(slices.Clip(t.Settings), Setting{
		Name:  configName,
		Value: Text(&t.path, "FILE"),
		Doc:   "YAML file with settings",
	})
}

// unknown explains a name that the table does not have.
func (t *Table) unknown(rows []Setting, name string, show func(*Setting) string) string {
	if commands := t.Elsewhere[name]; len(commands) > 0 {
		return "this is a setting of millrace " + strings.Join(commands, ", millrace ") + ", not of this command"
	}
	for i := range rows {
		if near(rows[i].Name, name) {
			return "there is no such setting; did you mean " + show(&rows[i]) + "?"
		}
	}
	return "there is no such setting"
}

// near reports whether two names are at most two edits apart (Levenshtein's distance).
func near(a, b string) bool {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)] <= 2
}
