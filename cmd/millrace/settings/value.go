package settings

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Value is where a setting goes and how its text is read. What the target holds when the Value is made is the default.
type Value struct {
	metavar  string
	def      string
	parse    func(text string) error // the error says what is wanted, and does not repeat the text
	many     bool                    // several texts; parse gets one after the other
	reset    func()                  // if many: forgets the default before the first text
	bare     bool                    // a flag without a value is "true"
	fileOnly func(node *yaml.Node, at func(*yaml.Node) string) error
}

// Text is any text.
func Text(target *string, metavar string) Value {
	return Value{metavar: metavar, def: *target, parse: func(text string) error {
		*target = text
		return nil
	}}
}

// Choice is one of several words.
func Choice(target *string, words ...string) Value {
	return Value{metavar: strings.Join(words, "|"), def: *target, parse: func(text string) error {
		if !slices.Contains(words, text) {
			return errors.New("one of " + strings.Join(words, ", "))
		}
		*target = text
		return nil
	}}
}

// Bool is true or false. A flag without a value is true.
func Bool(target *bool) Value {
	return Value{bare: true, parse: func(text string) error {
		switch text {
		case "true":
			*target = true
		case "false":
			*target = false
		default:
			return errors.New("true or false")
		}
		return nil
	}}
}

// Int is a whole number not below least.
func Int(target *int, least int) Value {
	return Value{metavar: "N", def: strconv.Itoa(*target), parse: func(text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < least {
			return fmt.Errorf("a whole number from %d on", least)
		}
		*target = n
		return nil
	}}
}

// Duration is a time such as 1m30s, not below least.
func Duration(target *time.Duration, least time.Duration) Value {
	return Value{metavar: "TIME", def: FormatDuration(*target), parse: func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < least {
			return fmt.Errorf("a time such as 500ms, 25s or 1h30m, at least %s", FormatDuration(least))
		}
		*target = d
		return nil
	}}
}

// FormatDuration writes a duration as people do: without units that are zero.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Bytes is a size such as 64KiB or 1GiB, or a plain number of bytes, not below least.
func Bytes[N int | int64](target *N, least N) Value {
	return Value{metavar: "SIZE", def: FormatBytes(int64(*target)), parse: func(text string) error {
		n, ok := parseBytes(text)
		if !ok || n < int64(least) || int64(N(n)) != n {
			return fmt.Errorf("a size such as 4096, 64KiB or 1GiB, at least %s", FormatBytes(int64(least)))
		}
		*target = N(n)
		return nil
	}}
}

var units = []struct {
	name string
	size int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}, {"", 1}}

func parseBytes(text string) (int64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		return n * u.size, err == nil && n >= 0 && n <= math.MaxInt64/u.size
	}
	return 0, false
}

// FormatBytes writes a size as it may be given.
func FormatBytes(n int64) string {
	for _, u := range units {
		if n >= u.size && n%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// List is several texts: a flag that is repeated, words between commas, or a sequence in the file.
func List(target *[]string, metavar string) Value {
	return Value{
		metavar: metavar,
		def:     strings.Join(*target, ","),
		many:    true,
		reset:   func() { *target = nil },
		parse: func(text string) error {
			for word := range strings.SplitSeq(text, ",") {
				if word = strings.TrimSpace(word); word != "" {
					*target = append(*target, word)
				}
			}
			return nil
		},
	}
}

// Texts is several texts that may contain commas: a flag that is repeated, or a sequence in the file.
func Texts(target *[]string, metavar string) Value {
	v := List(target, metavar)
	v.parse = func(text string) error {
		*target = append(*target, text)
		return nil
	}
	return v
}

// Func is a text that parse takes or refuses; its error says what is wanted. def is for the help text.
func Func(parse func(text string) error, metavar, def string) Value {
	return Value{metavar: metavar, def: def, parse: parse}
}

// Records is a sequence of mappings, which only the file can hold. record returns the settings of the next one.
func Records(record func() []Setting) Value {
	return Value{fileOnly: func(node *yaml.Node, at func(*yaml.Node) string) error {
		if node.Kind != yaml.SequenceNode {
			return errors.New(at(node) + ": want a sequence of mappings")
		}
		var faults []error
		for _, item := range node.Content {
			t := &Table{}
			faults = append(faults, t.mapping(record(), item, at))
		}
		return errors.Join(faults...)
	}}
}

// set takes all that one source says. The error repeats nothing that a secret was given.
func (s *Setting) set(texts []string) error {
	if s.Value.many {
		s.Value.reset()
	} else {
		texts = texts[len(texts)-1:]
	}
	for _, text := range texts {
		if err := s.Value.parse(text); err != nil {
			if s.Secret {
				return fmt.Errorf("want %w", err)
			}
			return fmt.Errorf("%q is not what it should be; want %w", text, err)
		}
	}
	return nil
}
