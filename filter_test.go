package millrace_test

import (
	"strings"
	"testing"

	"github.com/millrace-dev/millrace"
)

func parse(t testing.TB, text string) *millrace.Filter {
	t.Helper()
	f, err := millrace.ParseFilter(text)
	if err != nil {
		t.Fatalf("filter %s: %v", text, err)
	}
	return f
}

func priced() *millrace.Event {
	return &millrace.Event{
		Topic: "prices:eur:usd", Name: "price", Key: "eur:usd", Sender: millrace.Sender{Session: "s1", Subject: "feed"}, Data: []byte("{}"),
		Headers: []millrace.Header{
			{Name: "region", Value: "eu-west"},
			{Name: "price", Value: "10.50"},
			{Name: "x y", Value: "b"},
			{Name: "trace", Value: ""},
			{Name: "tag", Value: "red"},
			{Name: "tag", Value: "7"},
			{Name: "quote", Value: "a\"\\\n\t\u20ac\U0001f600\x01"},
			{Name: "id", Value: "9007199254740993"},
			{Name: "tiny", Value: "-0.00012e2"},
			{Name: "plus", Value: "+1"},
			{Name: "zeros", Value: "007"},
			{Name: "blank", Value: " 1"},
			{Name: "in", Value: "in"},
		},
	}
}

func TestAFilterChoosesByWhatIsToldAboutAnEvent(t *testing.T) {
	e := priced()
	for text, want := range map[string]bool{
		// The fields.
		`name == "price"`:                    true,
		`name == "Price"`:                    false,
		`key == "eur:usd"`:                   true,
		`subject == "feed"`:                  true,
		`subject == "s1"`:                    false,
		`content_type == "application/json"`: true, // which an empty one means
		`content_type == ""`:                 false,
		`header.region == "eu-west"`:         true,
		`header["region"] == "eu-west"`:      true,
		`header["x y"] == "b"`:               true,
		`header.Region == "eu-west"`:         false,
		`header.in in ("in")`:                true,
		// A field alone.
		`name`:          true,
		`content_type`:  true,
		`header.trace`:  true,
		`header.nobody`: false,
		// Texts.
		`name != "price"`:            false,
		`name != "trade"`:            true,
		`name ^= "pri"`:              true,
		`name ^= ""`:                 true,
		`name ^= "price "`:           false,
		`name in ("trade", "price")`: true,
		`name in ("trade")`:          false,
		`header.trace == ""`:         true,
		`header.quote == "a\"\\\n\t\u20aC\ud83d\uDE00\u0001"`: true,
		`header.quote ^= "a\"\\\n\t€😀"`:                       true,
		`header.price == "10.5"`:                              false, // as text
		// Numbers.
		`header.price == 10.5`:           true,
		`header.price == 1050e-2`:        true,
		`header.price != 10.5`:           false,
		`header.price < 10.5`:            false,
		`header.price <= 10.5`:           true,
		`header.price > 10.49`:           true,
		`header.price > 9`:               true,
		`header.price < 1E2`:             true,
		`header.price >= 10.5000001`:     false,
		`header.price in (1, "x", 10.5)`: true,
		`header.price > -11`:             true,
		`header.tiny == -0.012`:          true,
		`header.tiny < -0.0119`:          true,
		`header.tiny < -0.013`:           false,
		`header.tiny < 0`:                true,
		`header.tiny < -0e7`:             true,
		`header.id == 9007199254740993`:  true,
		`header.id == 9007199254740992`:  false, // a float64 can't tell them apart
		`header.id > 9007199254740992`:   true,
		`header.id < 1e999999999`:        true,
		`header.id > 1e-999999999`:       true,
		`header.id > -1e999999999`:       true,
		// What is no number.
		`name == 1`:            false,
		`name != 1`:            true,
		`name < 1`:             false,
		`name >= 1`:            false,
		`!(name < 1)`:          true,
		`header.plus == 1`:     false,
		`header.zeros == 7`:    false,
		`header.blank == 1`:    false,
		`header.trace == 0`:    false,
		`name in (1, "price")`: true,
		// A header that occurs several times, and one that does not.
		`header.tag == "red"`:                      true,
		`header.tag == "blue"`:                     false,
		`header.tag != "red"`:                      false, // exactly the opposite of ==
		`header.tag != "blue"`:                     true,
		`header.tag ^= "7"`:                        true,
		`header.tag > 6`:                           true,
		`header.tag == "red" && header.tag == 7.0`: true,
		`header.nobody == ""`:                      false,
		`header.nobody != ""`:                      true,
		`header.nobody ^= ""`:                      false,
		`header.nobody < 1`:                        false,
		// Joined.
		`name && key`:                              true,
		`name && header.nobody`:                    false,
		`header.nobody || name`:                    true,
		`header.nobody || header.none`:             false,
		`!name`:                                    false,
		`!!name`:                                   true,
		`!name == "trade"`:                         true, // negates the test
		`name || header.nobody && header.nobody`:   true,
		`(name || header.nobody) && header.nobody`: false,
		`!(name && header.nobody)`:                 true,
		`!(header.nobody || header.none)`:          true,
		`name == "price" && (header.region ^= "eu-" || header["x y"] in ("a", "b")) && !(header.price <= 10.5) && key != "k1" && header.trace`: false,
		`name == "price" && (header.region ^= "us-" || header["x y"] in ("a", "b")) && !(header.price <= 10.4) && key != "k1" && header.trace`: true,
	} {
		if got := parse(t, text).Passes(e); got != want {
			t.Errorf("%s passes: %v", text, got)
		}
	}
}

func TestAnEmptyFieldIsNotThere(t *testing.T) {
	e := &millrace.Event{}
	for text, want := range map[string]bool{
		`name`: false, `key`: false, `subject`: false, `name == ""`: true, `key != ""`: false, `subject ^= ""`: true, `key < 1`: false,
	} {
		if got := parse(t, text).Passes(e); got != want {
			t.Errorf("%s passes: %v", text, got)
		}
	}
	e.ContentType = "text/plain"
	if !parse(t, `content_type == "text/plain"`).Passes(e) {
		t.Error("a content type is not compared as it is")
	}
}

func TestOrderedAreNumbersThatAFloatCantTellApart(t *testing.T) {
	ascending := []string{
		"-1e400", "-1e399", "-123456789012345678901234567890", "-20", "-3", "-1.01", "-1", "-0.2", "-0.03", "-1e-400", "0", "1e-400", "0.03",
		"0.2", "0.20000000000000000001", "1", "1.01", "3", "20", "123456789012345678901234567890", "123456789012345678901234567891", "1e399", "1e400",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			e := &millrace.Event{Key: a}
			for op, want := range map[string]bool{"==": i == j, "!=": i != j, "<": i < j, "<=": i <= j, ">": i > j, ">=": i >= j} {
				if got := parse(t, "key "+op+" "+b).Passes(e); got != want {
					t.Errorf("%s %s %s: %v", a, op, b, got)
				}
			}
		}
	}
	for _, same := range [][2]string{
		{"0", "-0.000e5"}, {"1", "1.000"}, {"1", "0.1e1"}, {"1", "0.001e+0003"}, {"100", "1E2"}, {"1.5", "15e-01"}, {"12.30", "0.000123e5"}, {"7", "7e-0"},
	} {
		if f := parse(t, "key == "+same[0]); !f.Passes(&millrace.Event{Key: same[1]}) {
			t.Errorf("%s is not %s", same[0], same[1])
		}
	}
}

func TestANumberOfAnEventIsBoundedToo(t *testing.T) {
	f := parse(t, "key > 0")
	for key, want := range map[string]bool{
		strings.Repeat("9", millrace.MaxFilterNumberBytes):   true,
		strings.Repeat("9", millrace.MaxFilterNumberBytes+1): false,
		"1e999999999":   true,
		"1e00000000001": true,
		"1e1000000000":  false,
		"1e-1000000000": false,
	} {
		if got := f.Passes(&millrace.Event{Key: key}); got != want {
			t.Errorf("%s passes: %v", key, got)
		}
	}
}

func TestNoFilterPassesAll(t *testing.T) {
	for _, text := range []string{"", " ", " \t\r\n"} {
		f, err := millrace.ParseFilter(text)
		if f != nil || err != nil {
			t.Errorf("%q is read as %v, %v", text, f, err)
		}
		if !f.Passes(&millrace.Event{}) || f.String() != "" {
			t.Error("no filter is a filter")
		}
	}
}

// wide looks at everything that a filter can look at.
const wide = `name == "price" && (header.region ^= "us-" || header["x y"] in ("a", "b")) && !(header.price <= 10.4) && ` +
	`header.id in (1, "x", 9007199254740993) && header.plus != 1 && header.nobody != 1e5 && key && subject != "" && content_type ^= "app"`

func TestAFilterIsAskedWithoutAllocations(t *testing.T) {
	f, e := parse(t, wide), priced()
	e.Key = "1e99999" // which a float64 could not hold
	if !f.Passes(e) {
		t.Fatal("not all of it is looked at")
	}
	if n := testing.AllocsPerRun(100, func() { f.Passes(e) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFilterPasses(b *testing.B) {
	e := priced()
	for name, text := range map[string]string{"name": `name == "price"`, "number": `header.price > 10.4`, "wide": wide} {
		b.Run(name, func(b *testing.B) {
			f := parse(b, text)
			b.ReportAllocs()
			for b.Loop() {
				if !f.Passes(e) {
					b.Fatal("it does not pass")
				}
			}
		})
	}
}
