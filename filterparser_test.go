package millrace_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func TestAFilterIsWrittenInOneWay(t *testing.T) {
	for text, want := range map[string]string{
		`name == "price"`:                  `name=="price"`,
		` ( ( name ) ) `:                   `name`,
		"header\n.\tregion\r^= \"eu-\"":    `header.region^="eu-"`,
		`header [ "region" ]`:              `header.region`,
		`header["a b"]in("a", 1)`:          `header["a b"]in("a",1)`,
		`header[""]`:                       `header[""]`,
		`header.5-x_Y in ("a","b")`:        `header.5-x_Y in("a","b")`,
		`name in ("a")`:                    `name=="a"`,
		`!(name == "a")`:                   `name!="a"`,
		`!name != "a"`:                     `name=="a"`,
		`!!!name`:                          `!name`,
		`!!(name || key)`:                  `name||key`,
		`! (name in ("a", "b"))`:           `!name in("a","b")`,
		`!(key < 1)`:                       `!key<1`,
		`name && (key && (subject))`:       `name&&key&&subject`,
		`name || (key && subject)`:         `name||key&&subject`,
		`(name || key) && subject`:         `(name||key)&&subject`,
		`(name || (key || subject))`:       `name||key||subject`,
		`!(name || key) && !(name && key)`: `!(name||key)&&!(name&&key)`,
		`name && !!(key && subject)`:       `name&&key&&subject`,
		`key == -1.50E+07`:                 `key==-1.50E+07`,
		`key == "\u0022\u005c\u000a\u0009\u000d\u0000\u20ac\ud83d\ude00/"`:                                                                     `key=="\"\\\n\t\u000d\u0000€😀/"`,
		`name == "price" && (header.region ^= "eu-" || header["x y"] in ("a", "b")) && !(header.price <= 10.5) && key != "k1" && header.trace`: `name=="price"&&(header.region^="eu-"||header["x y"]in("a","b"))&&!header.price<=10.5&&key!="k1"&&header.trace`,
	} {
		f := parse(t, text)
		if got := f.String(); got != want {
			t.Errorf("%s is written\n%s, want\n%s", text, got, want)
		}
		roundTrips(t, text, f)
	}
}

// roundTrips shows that the filter's text is read as the same filter, and that it is not longer than the text before.
func roundTrips(t testing.TB, text string, f *millrace.Filter) {
	t.Helper()
	written := f.String()
	again, err := millrace.ParseFilter(written)
	if err != nil || !reflect.DeepEqual(again, f) || again.String() != written {
		t.Fatalf("%s is written as %s and read as %v, %v", text, written, again, err)
	}
	if len(written) > len(text) {
		t.Fatalf("%s is written longer: %s", text, written)
	}
}

func TestWhatIsNoFilterIsRefusedByNameAndPlace(t *testing.T) {
	for text, want := range map[string]string{
		// Fields.
		`price == "a"`:      `byte 0 of the filter: expected name, key, content_type, subject, header.NAME or header["NAME"], found "price == \"a\""`,
		`Name`:              `byte 0 of the filter: expected name, `,
		`"a" == name`:       `byte 0 of the filter: expected name, `,
		`name-x`:            `byte 0 of the filter: expected name, `,
		`data == "a"`:       `byte 0 of the filter: expected name, `,
		`header`:            `byte 6 of the filter: expected "." or "[", but it ends`,
		`header == "a"`:     `byte 7 of the filter: expected "." or "["`,
		`header. == "a"`:    `byte 8 of the filter: expected a header's name, found`,
		`header.größe`:      `byte 9 of the filter: expected an operator or the end`,
		`header[region]`:    `byte 7 of the filter: expected a header's name in quotes`,
		`header["a" == "b"`: `byte 11 of the filter: expected "]"`,
		`header["a`:         `byte 9 of the filter: expected a closing quote, but it ends`,
		// Operators and values.
		`name = "a"`:           `byte 5 of the filter: expected an operator or the end, found "= \"a\""`,
		`name =~ "a"`:          `byte 5 of the filter: expected an operator or the end`,
		`name key`:             `byte 5 of the filter: expected an operator or the end, found "key"`,
		`name & key`:           `byte 5 of the filter: expected an operator or the end`,
		`name == `:             `byte 8 of the filter: expected a string in double quotes or a number, but it ends`,
		`name == price`:        `byte 8 of the filter: expected a string in double quotes or a number, found "price"`,
		`name == 'price'`:      `byte 8 of the filter: expected a string in double quotes or a number`,
		`name == true`:         `byte 8 of the filter: expected a string in double quotes or a number`,
		`name ^= 5`:            `byte 8 of the filter: expected a string in double quotes, found "5"`,
		`name < "a"`:           `byte 7 of the filter: expected a number, found`,
		`name <= "a"`:          `byte 8 of the filter: expected a number`,
		`name > "a"`:           `byte 7 of the filter: expected a number`,
		`name >= "a"`:          `byte 8 of the filter: expected a number`,
		`name == +1`:           `byte 8 of the filter: expected a string in double quotes or a number`,
		`name == .5`:           `byte 8 of the filter: expected a string in double quotes or a number`,
		`name == -`:            `byte 8 of the filter: expected a string in double quotes or a number`,
		`name == 01`:           `byte 9 of the filter: expected an operator or the end, found "1"`,
		`name == 1.`:           `byte 9 of the filter: expected an operator or the end`,
		`name == 1e+`:          `byte 9 of the filter: expected an operator or the end`,
		`name == 1x`:           `byte 9 of the filter: expected an operator or the end`,
		`name == 1e1000000000`: `byte 8 of the filter: a number has at most 64 bytes, and its exponent 9 digits`,
		`name == 1` + strings.Repeat("0", millrace.MaxFilterNumberBytes): `byte 8 of the filter: a number has at most 64 bytes`,
		`name in "a"`:       `byte 8 of the filter: expected "("`,
		`name in ()`:        `byte 9 of the filter: expected a string in double quotes or a number, found ")"`,
		`name in ("a",)`:    `byte 13 of the filter: expected a string in double quotes or a number`,
		`name in ("a" "b")`: `byte 13 of the filter: expected "," or ")"`,
		`name in ("a"`:      `byte 12 of the filter: expected "," or ")", but it ends`,
		`name not in ("a")`: `byte 5 of the filter: expected an operator or the end`,
		// Strings.
		`name == "a`:             `byte 10 of the filter: expected a closing quote, but it ends`,
		`name == "a\"`:           `byte 12 of the filter: expected a closing quote, but it ends`,
		`name == "\`:             `byte 9 of the filter: expected one of the escapes \" \\ \n \t and \uXXXX`,
		`name == "\r"`:           `byte 9 of the filter: expected one of the escapes`,
		`name == "\u12"`:         `byte 9 of the filter: expected one of the escapes`,
		`name == "\u12g4"`:       `byte 9 of the filter: expected one of the escapes`,
		`name == "\u+123"`:       `byte 9 of the filter: expected one of the escapes`,
		`name == "\ud83d"`:       `byte 9 of the filter: expected one of the escapes`,
		`name == "\ude00"`:       `byte 9 of the filter: expected one of the escapes`,
		`name == "\ud83d\u0041"`: `byte 9 of the filter: expected one of the escapes`,
		"name == \"a\nb\"":       `byte 10 of the filter: expected an escape in place of a control character, found "\nb\""`,
		"name == \"a\xff\"":      `byte 10 of the filter: expected UTF-8, found "\xff\""`,
		"name\xff":               `byte 4 of the filter: expected an operator or the end`,
		// Joins.
		`&& name`:        `byte 0 of the filter: expected name, `,
		`name &&`:        `byte 7 of the filter: expected name, `,
		`name || `:       `byte 8 of the filter: expected name, `,
		`!`:              `byte 1 of the filter: expected name, `,
		`!= "a"`:         `byte 1 of the filter: expected name, `,
		`()`:             `byte 1 of the filter: expected name, `,
		`(name`:          `byte 5 of the filter: expected an operator or ")", but it ends`,
		`(name = "a")`:   `byte 6 of the filter: expected an operator or ")", found`,
		`name)`:          `byte 4 of the filter: expected an operator or the end, found ")"`,
		`(name) key`:     `byte 7 of the filter: expected an operator or the end`,
		`(name) == "a"`:  `byte 7 of the filter: expected an operator or the end`,
		`name == "a" ==`: `byte 12 of the filter: expected an operator or the end`,
	} {
		f, err := millrace.ParseFilter(text)
		if f != nil || reasonOf(err) != millrace.ReasonFilterInvalid || !strings.HasPrefix(err.Error(), "filter_invalid: "+want) {
			t.Errorf("%q is read as %v, %v\nwant %s", text, f, err, want)
		}
	}
}

func TestAFilterIsBounded(t *testing.T) {
	long := func(bytes int) string { return `name == "` + strings.Repeat("x", bytes-len(`name == ""`)) + `"` }
	many := func(tests int) string { return strings.Repeat("name||", tests-1) + "name" }
	nested := func(deep int) string { return strings.Repeat("!(name&&", deep) + "key" + strings.Repeat(")", deep) }
	for text, want := range map[string]string{
		long(millrace.MaxFilterBytes):                  "",
		long(millrace.MaxFilterBytes + 1):              "the filter has 1025 bytes; at most 1024 are allowed",
		strings.Repeat(" ", millrace.MaxFilterBytes+1): "the filter has 1025 bytes; at most 1024 are allowed",
		many(millrace.MaxFilterTests):                  "",
		many(millrace.MaxFilterTests + 1):              "byte 384 of the filter: there are more than 64 tests",
		nested(millrace.MaxFilterNesting):              "",
		nested(millrace.MaxFilterNesting + 1):          "byte 129 of the filter: more than 16 parentheses are open",
		strings.Repeat("(name)&&", 63) + "(name)":      "", // beside each other they are not nested
		strings.Repeat("!", 1000) + "name":             "",
		"key in (" + strings.Repeat("1,", 300) + "1)":  "", // one test
		strings.Repeat("(", millrace.MaxFilterBytes):   "byte 16 of the filter: more than 16 parentheses are open",
	} {
		f, err := millrace.ParseFilter(text)
		if want == "" {
			if err != nil {
				t.Errorf("%.40s…: %v", text, err)
				continue
			}
			roundTrips(t, text, f)
		} else if reasonOf(err) != millrace.ReasonFilterInvalid || err.Error() != "filter_invalid: "+want {
			t.Errorf("%.40s… is read as %v, %v", text, f, err)
		}
	}
}

// FuzzParseFilter reads what a stranger may send. What is read is bounded, can be asked, and is written and read again as
// the same.
func FuzzParseFilter(f *testing.F) {
	for _, seed := range []string{
		wide, "", " ", `name`, `!name != "a"`, `((key))`, `!(name||key)&&subject`, `header["x y"]in("a",1)`, `header.-5 in (-0.5e-7)`,
		`key=="\u0000\ud83d\ude00\"\\\n\t"`, `key=="\ud83d"`, `key<1e999999999`, `key==1e1000000000`, `name ^= 1`, `a = "b"`, `header[""`,
		`name=="a"||name=="b"&&!name=="c"`, "name == \"\xff\"", `!!!!((((name))))`, strings.Repeat("(", 40), `header.in in ("in")`,
	} {
		f.Add(seed)
	}
	events := []*millrace.Event{{}, priced(), {Name: "a", Key: "-0.5e-7", Headers: []millrace.Header{{Name: "in", Value: "in"}, {Name: "-5", Value: "1"}}}}
	f.Fuzz(func(t *testing.T, text string) {
		filter, err := millrace.ParseFilter(text)
		if err != nil {
			if reasonOf(err) != millrace.ReasonFilterInvalid {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if filter == nil {
			if strings.Trim(text, " \t\r\n") != "" {
				t.Fatalf("%q is read as no filter", text)
			}
			return
		}
		if len(text) > millrace.MaxFilterBytes {
			t.Fatalf("a filter has %d bytes", len(text))
		}
		roundTrips(t, text, filter)
		opposite, err := millrace.ParseFilter("!(" + filter.String() + ")")
		for _, e := range events {
			if err == nil && opposite.Passes(e) == filter.Passes(e) {
				t.Fatalf("%s and its opposite agree on %+v", text, e)
			}
		}
	})
}
