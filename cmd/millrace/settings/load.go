package settings

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// ErrHelp says that the arguments ask for help.
var ErrHelp = errors.New("help was asked for")

// Load fills the table's values from the arguments, the environment (as os.Environ returns it) and the file that either
// names, and returns the arguments that are not flags. The error has every fault; the values without a fault are then
// set nevertheless, so that a caller can go on to find faults between settings.
func (t *Table) Load(args, environ []string) (rest []string, err error) {
	t.where = map[string]string{}
	rows := t.rows()
	var faults []error

	given, rest, err := t.parseArgs(rows, args)
	if errors.Is(err, ErrHelp) {
		return nil, ErrHelp
	}
	faults = append(faults, err)
	env, err := t.readEnv(rows, environ)
	faults = append(faults, err)

	for i := range rows {
		s := &rows[i]
		for _, source := range []struct {
			where string
			texts []string
		}{{s.flag(), given[s.Name]}, {s.env(), env[s.Name]}} {
			if len(source.texts) == 0 {
				continue
			}
			t.where[s.Name] = source.where
			if err := s.set(source.texts); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", source.where, err))
			}
			break
		}
	}
	if t.path != "" {
		faults = append(faults, t.readFile(rows))
	}
	return rest, errors.Join(faults...)
}

func (t *Table) readFile(rows []Setting) error {
	text, err := os.ReadFile(t.path)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Where(configName), err)
	}
	return t.document(rows, t.path, text)
}

// readEnv returns the texts of the variables by setting.
func (t *Table) readEnv(rows []Setting, environ []string) (map[string][]string, error) {
	found := map[string][]string{}
	var faults []error
	inKubernetes := slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "KUBERNETES_SERVICE_HOST=") })
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" {
			continue
		}
		setting := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, envPrefix), "_", "-"))
		i := slices.IndexFunc(rows, func(s Setting) bool { return s.env() == name })
		switch {
		case i >= 0 && rows[i].FlagOnly:
			faults = append(faults, fmt.Errorf("%s: this can only be given as %s", name, rows[i].flag()))
		case i >= 0 && rows[i].Value.fileOnly != nil:
			faults = append(faults, fmt.Errorf("%s: %s", name, onlyInFile))
		case i >= 0:
			found[rows[i].Name] = []string{value}
		case len(t.Elsewhere[setting]) > 0:
		case inKubernetes && isServiceLink(name):
		default:
			faults = append(faults, fmt.Errorf("%s: %s", name, t.unknown(rows, setting, (*Setting).env)))
		}
	}
	return found, errors.Join(faults...)
}

// isServiceLink reports whether a variable is one that Kubernetes sets in every container for each service of its
// namespace (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables), so that a service
// named millrace does not keep Millrace from starting.
func isServiceLink(name string) bool {
	return strings.HasSuffix(name, "_PORT") || strings.HasSuffix(name, "_SERVICE_HOST") ||
		strings.Contains(name, "_SERVICE_PORT") || strings.Contains(name, "_PORT_")
}
