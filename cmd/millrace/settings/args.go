package settings

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// parseArgs returns the texts of the flags by setting, and what is not a flag. Flags may stand before, between and after
// the other arguments; all that comes after "--" is no flag, and "-" alone is none.
func (t *Table) parseArgs(rows []Setting, args []string) (given map[string][]string, rest []string, err error) {
	given = map[string][]string{}
	var faults []error
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			rest = append(rest, args...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			rest = append(rest, arg)
			continue
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg[1:], "-"), "=")
		if name == "h" || name == "help" {
			return nil, nil, ErrHelp
		}
		i := slices.IndexFunc(rows, func(s Setting) bool { return s.Name == name })
		switch {
		case i < 0:
			shown, _, _ := strings.Cut(arg, "=")
			faults = append(faults, fmt.Errorf("%s: %s", shown, t.unknown(rows, name, (*Setting).flag)))
			continue
		case rows[i].Value.fileOnly != nil:
			faults = append(faults, fmt.Errorf("%s: %s", rows[i].flag(), onlyInFile))
			continue
		case !hasValue && rows[i].Value.bare:
			value = "true"
		case !hasValue:
			if len(args) == 0 || strings.HasPrefix(args[0], "--") {
				faults = append(faults, fmt.Errorf("%s: a value is missing", rows[i].flag()))
				continue
			}
			value, args = args[0], args[1:]
		}
		given[name] = append(given[name], value)
	}
	return given, rest, errors.Join(faults...)
}
