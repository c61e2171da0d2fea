package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// told runs millrace in this process, for what ends before anything is served.
func told(t *testing.T, environ []string, args ...string) (code int, out, stderr string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, environ, streams{in: strings.NewReader(""), out: &o, err: &e})
	return code, o.String(), e.String()
}

func TestHelpDescribesEveryCommandAndItsSettings(t *testing.T) {
	code, overview, _ := told(t, nil, "help")
	if code != exitDone {
		t.Fatalf("exit code %d", code)
	}
	for _, c := range commands() {
		if !strings.Contains(overview, "\n  "+c.name+" ") {
			t.Errorf("the overview lacks %s", c.name)
		}
		_, long, _ := told(t, nil, "help", c.name)
		_, short, _ := told(t, nil, c.name, "--help")
		if long != short {
			t.Errorf("millrace help %s and millrace %s --help differ", c.name, c.name)
		}
		if !strings.HasPrefix(long, "millrace "+c.name) {
			t.Errorf("the help of %s begins with %.40q", c.name, long)
		}
		for _, s := range c.job().settings() {
			if !strings.Contains(long, "  --"+s.Name) && !strings.Contains(long, "  "+s.Name+":") {
				t.Errorf("the help of %s lacks %s", c.name, s.Name)
			}
			if s.Doc == "" || strings.HasSuffix(s.Doc, ".") {
				t.Errorf("setting %s of %s has the text %q; want one without a full stop", s.Name, c.name, s.Doc)
			}
		}
		for line := range strings.Lines(long) {
			if len([]rune(line)) > 125 {
				t.Errorf("the help of %s has a long line: %s", c.name, line)
			}
		}
	}
}

func TestEachCommandStartsWithItsDefaults(t *testing.T) {
	for _, c := range commands() {
		names := map[string]bool{}
		for _, s := range c.job().settings() {
			if names[s.Name] {
				t.Errorf("%s has the setting %s twice", c.name, s.Name)
			}
			names[s.Name] = true
		}
	}
}

func TestASettingMeansTheSameInEveryCommand(t *testing.T) {
	docs := map[string]string{}
	for _, c := range commands() {
		for _, s := range c.job().settings() {
			if s.Name == "listen" {
				continue
			}
			if d, ok := docs[s.Name]; ok && d != s.Doc {
				t.Errorf("%s of %s is %q; elsewhere it is %q", s.Name, c.name, s.Doc, d)
			}
			docs[s.Name] = s.Doc
		}
	}
}

func TestFaultsOfSettingsAreToldAtOnceAndNothingIsStarted(t *testing.T) {
	config := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(config, []byte("rules:\n  - {max_age: 1h}\n  - {pattern: 'a::b'}\n  - {pattern: a, max_age: 2h, head_retention: 1h}\n  - {pattern: b, class: last}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const short = "hunter2hunter2"
	for name, c := range map[string]struct {
		args    []string
		environ []string
		want    []string
	}{
		"broker": {
			args:    []string{"broker", "--listen", "0.0.0.0:7400", "--config", config, "--max-topics=0", "extra"},
			environ: []string{"MILLRACE_TOPIC_MAX_AGE=never", "MILLRACE_ANONYMOUS=true"},
			want: []string{
				"--max-topics: ", "MILLRACE_TOPIC_MAX_AGE: ", config + ":3: pattern: ", config + ":5: class: ", "rule 1 has no pattern", "HeadRetention", "--listen: ", "--insecure-open-broker",
			},
		},
		"wsgateway": {
			args:    []string{"wsgateway", "--listen", "nowhere", "--ping-intervall", "1s"},
			environ: []string{"MILLRACE_KEY=" + short, "MILLRACE_SEAL_KEY=" + short},
			want: []string{
				`--listen: "nowhere" is not an address`, "--ping-intervall: there is no such setting; did you mean --ping-interval?",
				"MILLRACE_KEY: want at least 32 bytes", "MILLRACE_SEAL_KEY: want at least 16 bytes",
			},
		},
		"gateway without a key":                {args: []string{"wsgateway"}, want: []string{"--key: a key is needed"}},
		"gateway that lets all in":             {args: []string{"ssegateway", "--listen", ":7402", "--anonymous"}, want: []string{"--anonymous: ", "--insecure-anonymous"}},
		"gateway with the public key":          {args: []string{"wsgateway", "--listen", ":7402", "--key", "millrace-dev-key-is-public-never-use-it-in-production"}, want: []string{"the key of millrace dev is public"}},
		"key and key file":                     {args: []string{"wsgateway", "--key-file", config}, environ: []string{"MILLRACE_KEY=" + strings.Repeat("x", 32)}, want: []string{"--key-file: there is MILLRACE_KEY too"}},
		"key file that is not there":           {args: []string{"wsgateway", "--key-file", config + ".not"}, want: []string{"--key-file: open "}},
		"dev that others could reach":          {args: []string{"dev", "--listen", "0.0.0.0:7480"}, want: []string{"--listen: "}},
		"dev whose gRPC others could reach":    {args: []string{"dev", "--grpc-listen", ":7400"}, want: []string{"--grpc-listen: "}},
		"token without subject":                {args: []string{"token"}, want: []string{"--subject: the subject is empty"}},
		"publish without topic":                {args: []string{"publish"}, want: []string{"too few arguments; want millrace publish TOPIC DATA"}},
		"publish with data that is not quoted": {args: []string{"publish", "t", "two", "words"}, want: []string{"3 arguments are too many", "quote"}},
		"publish with a bad header":            {args: []string{"publish", "t", "1", "--header", "x"}, want: []string{`--header: "x"`}},
		"publish with a gateway's setting":     {args: []string{"publish", "t", "1", "--origins", "x"}, want: []string{"--origins: this is a setting of millrace dev, millrace wsgateway, millrace ssegateway"}},
		"subscribe with a bad start":           {args: []string{"subscribe", "t", "--start", "last=x"}, want: []string{`--start: "last=x"`}},
		"subscribe with a bad filter":          {args: []string{"subscribe", "t", "--filter", "name = 1"}, want: []string{"--filter: filter_invalid"}},
		"subscribe with a bad rate":            {args: []string{"subscribe", "t", "--max-rate", "2000"}, want: []string{`--max-rate: "2000"`}},
		"publish at what is no position":       {args: []string{"publish", "t", "1", "--expect", "7"}, want: []string{`--expect: "7"`}},
		"publish a tombstone of no key":        {args: []string{"publish", "t", "--tombstone"}, want: []string{"--tombstone: the key to delete is missing"}},
		"subscribe with a bad cursor":          {args: []string{"subscribe", "--cursor", "x"}, want: []string{"--cursor: cursor_invalid"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, stderr := told(t, c.environ, c.args...)
			if code != exitUsage || out != "" {
				t.Errorf("exit code %d, output %q; want %d and none", code, out, exitUsage)
			}
			for _, w := range c.want {
				if !strings.Contains(stderr, w) {
					t.Errorf("this is missing: %s", w)
				}
			}
			if strings.Contains(stderr, short) {
				t.Error("a secret is told")
			}
			if t.Failed() {
				t.Log(stderr)
			}
		})
	}
}

func TestAnUnknownCommandIsNamed(t *testing.T) {
	for _, args := range [][]string{{"brocker"}, {"help", "brocker"}} {
		if code, _, stderr := told(t, nil, args...); code != exitUsage || !strings.Contains(stderr, `"brocker"`) {
			t.Errorf("%v: exit code %d, %s", args, code, stderr)
		}
	}
	if code, _, stderr := told(t, nil); code != exitUsage || !strings.Contains(stderr, "millrace dev") {
		t.Errorf("no command: exit code %d, %s", code, stderr)
	}
}

func TestVersionIsPrinted(t *testing.T) {
	if code, out, _ := told(t, nil, "version"); code != exitDone || !strings.HasPrefix(out, "millrace ") {
		t.Errorf("exit code %d, output %q", code, out)
	}
}

func TestATokenOfTheCommandLineHolds(t *testing.T) {
	code, token, note := told(t, nil, "token", "--subject", "alice")
	if code != exitDone || strings.Count(token, ".") != 2 || !strings.Contains(note, "millrace dev") {
		t.Errorf("exit code %d, token %q, note %q", code, token, note)
	}
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(strings.Repeat("k", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, byFile, note := told(t, nil, "token", "--subject", "alice", "--key-file", key)
	if note != "" || byFile == token {
		t.Errorf("the key of the file is not used; note %q", note)
	}
}
