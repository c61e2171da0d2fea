package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

var lineOfError = regexp.MustCompile(`line \d+`)

// document takes what a YAML file says.
func (t *Table) document(rows []Setting, path string, text []byte) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		// The parser's own words may repeat a secret, for example one that it takes for the name of an anchor.
		return fmt.Errorf("%s: this is not YAML; see %s", path, cmp.Or(lineOfError.FindString(err.Error()), "its syntax"))
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: there is more than one document", path)
	}
	if len(doc.Content) == 0 {
		return nil
	}
	at := func(n *yaml.Node) string { return fmt.Sprintf("%s:%d", path, n.Line) }
	return t.mapping(rows, doc.Content[0], at)
}

// mapping takes what one mapping says. What was told before, by a flag or variable, stays.
func (t *Table) mapping(rows []Setting, node *yaml.Node, at func(*yaml.Node) string) error {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return nil
	}
	if node.Kind != yaml.MappingNode {
		return errors.New(at(node) + ": want a mapping of names to values")
	}
	var faults []error
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		where := at(key) + ": " + key.Value
		row := slices.IndexFunc(rows, func(s Setting) bool { return s.key() == key.Value && s.Name != configName })
		switch {
		case row < 0:
			name := strings.ReplaceAll(key.Value, "_", "-")
			faults = append(faults, fmt.Errorf("%s: %s", where, t.unknown(rows, name, (*Setting).key)))
		case rows[row].FlagOnly:
			faults = append(faults, fmt.Errorf("%s: this can only be given as %s", where, rows[row].flag()))
		case seen[key.Value]:
			faults = append(faults, errors.New(where+": this stands twice"))
		default:
			seen[key.Value] = true
			faults = append(faults, t.entry(&rows[row], where, value, at))
		}
	}
	return errors.Join(faults...)
}

// entry takes one value, unless a flag or variable told it.
func (t *Table) entry(s *Setting, where string, node *yaml.Node, at func(*yaml.Node) string) error {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	if s.Value.fileOnly != nil {
		t.tell(s.Name, where)
		return s.Value.fileOnly(node, at)
	}
	texts, ok := textsOf(s, node)
	if !ok {
		if s.Value.many {
			return errors.New(where + ": want a value or a sequence of values")
		}
		return errors.New(where + ": want one value")
	}
	if t.Told(s.Name) {
		return nil
	}
	t.tell(s.Name, where)
	if len(texts) == 0 {
		s.Value.reset()
		return nil
	}
	if err := s.set(texts); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	return nil
}

func (t *Table) tell(name, where string) {
	if t.where == nil {
		t.where = map[string]string{}
	}
	t.where[name] = where
}

func textsOf(s *Setting, node *yaml.Node) (texts []string, ok bool) {
	scalar := func(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag != "!!null" }
	if scalar(node) {
		return []string{node.Value}, true
	}
	if !s.Value.many || node.Kind != yaml.SequenceNode {
		return nil, false
	}
	for _, item := range node.Content {
		if !scalar(item) {
			return nil, false
		}
		texts = append(texts, item.Value)
	}
	return texts, true
}
