package settings_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace-dev/millrace/cmd/millrace/settings"
)

type rule struct {
	pattern string
	age     time.Duration
}

// told is a command's settings as the tests use them.
type told struct {
	listen  string
	ping    time.Duration
	frames  int
	size    int64
	open    bool
	origins []string
	headers []string
	level   string
	key     string
	rules   []*rule
	id      string
}

func table() (*told, *settings.Table) {
	v := &told{listen: "127.0.0.1:7401", ping: 25 * time.Second, frames: 8, size: 64 << 10, level: "info", origins: []string{"https://a.example"}}
	return v, &settings.Table{
		Settings: []settings.Setting{
			{Name: "listen", Value: settings.Text(&v.listen, "ADDR"), Doc: "where HTTP is served"},
			{Name: "ping-interval", Value: settings.Duration(&v.ping, time.Second), Doc: "how often the gateway pings"},
			{Name: "max-frames", Value: settings.Int(&v.frames, 1), Doc: "frames"},
			{Name: "max-bytes", Value: settings.Bytes(&v.size, 1), Doc: "bytes"},
			{Name: "open", Value: settings.Bool(&v.open), Doc: "let everyone in"},
			{Name: "origins", Value: settings.List(&v.origins, "ORIGIN"), Doc: "origins of pages that may connect"},
			{Name: "header", Value: settings.Texts(&v.headers, "NAME=VALUE"), Doc: "headers"},
			{Name: "log-level", Value: settings.Choice(&v.level, "debug", "info"), Doc: "what is logged"},
			{Name: "key", Value: settings.Func(func(text string) error {
				if len(text) < 32 {
					return errors.New("at least 32 bytes")
				}
				v.key = text
				return nil
			}, "KEY", "a default that must not be shown"), Doc: "secret", Secret: true},
			{Name: "rules", Value: settings.Records(func() []settings.Setting {
				r := &rule{}
				v.rules = append(v.rules, r)
				return []settings.Setting{
					{Name: "pattern", Value: settings.Text(&r.pattern, "")},
					{Name: "max-age", Value: settings.Duration(&r.age, 0)},
				}
			}), Doc: "rules"},
			{Name: "id", Value: settings.Text(&v.id, "ID"), Doc: "id of the event", FlagOnly: true},
		},
		Elsewhere: map[string][]string{"broker": {"publish", "wsgateway"}},
	}
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "millrace.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsCountBeforeTheEnvironmentAndThatBeforeTheFile(t *testing.T) {
	path := file(t, "listen: file:1\nping_interval: 1s\nmax_frames: 3\norigins: [https://f.example]\n")
	v, tab := table()
	_, err := tab.Load([]string{"--listen", "flag:1", "--config=" + path},
		[]string{"MILLRACE_LISTEN=env:1", "MILLRACE_PING_INTERVAL=2s", "HOME=/", "MILLRACE_ORIGINS="})
	if err != nil {
		t.Fatal(err)
	}
	if v.listen != "flag:1" || v.ping != 2*time.Second || v.frames != 3 || v.size != 64<<10 || !reflect.DeepEqual(v.origins, []string{"https://f.example"}) {
		t.Errorf("got %+v", v)
	}
	for name, want := range map[string]string{
		"listen": "--listen", "ping-interval": "MILLRACE_PING_INTERVAL", "max-frames": path + ":3: max_frames", "max-bytes": "--max-bytes",
	} {
		if got := tab.Where(name); got != want {
			t.Errorf("%s was told at %q, want %q", name, got, want)
		}
	}
	if tab.Told("max-bytes") || !tab.Told("listen") {
		t.Error("what was told and what is a default are confused")
	}
}

func TestTheEnvironmentMayNameTheFile(t *testing.T) {
	v, tab := table()
	if _, err := tab.Load(nil, []string{"MILLRACE_CONFIG=" + file(t, "listen: file:1")}); err != nil || v.listen != "file:1" {
		t.Errorf("listen %q, error %v", v.listen, err)
	}
}

func TestEachKindOfValueIsReadFromEachSource(t *testing.T) {
	const key = "0123456789abcdef0123456789abcdef"
	want := &told{
		listen: ":1", ping: 90 * time.Second, frames: 2, size: 1 << 30, open: true, origins: []string{"a", "b"}, level: "debug", key: key,
	}
	for name, load := range map[string]func(*settings.Table) error{
		"flags": func(tab *settings.Table) error {
			_, err := tab.Load([]string{
				"--listen=:1", "--ping-interval", "1m30s", "-max-frames", "2", "--max-bytes", "1GiB", "--open",
				"--origins", "a", "--origins=b", "--log-level=debug", "--key", key,
			}, nil)
			return err
		},
		"environment": func(tab *settings.Table) error {
			_, err := tab.Load(nil, []string{
				"MILLRACE_LISTEN=:1", "MILLRACE_PING_INTERVAL=90s", "MILLRACE_MAX_FRAMES=2", "MILLRACE_MAX_BYTES=1024MiB", "MILLRACE_OPEN=true",
				"MILLRACE_ORIGINS=a, b", "MILLRACE_LOG_LEVEL=debug", "MILLRACE_KEY=" + key,
			})
			return err
		},
		"file": func(tab *settings.Table) error {
			_, err := tab.Load([]string{"--config", file(t, `
listen: ":1"
ping_interval: 1m30s
max_frames: 2
max_bytes: 1073741824
open: true
origins: [a, b]
log_level: debug
key: `+key)}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, tab := table()
			if err := load(tab); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestFlagsMayStandAnywhereAmongTheArguments(t *testing.T) {
	v, tab := table()
	rest, err := tab.Load([]string{"chat:1", "--open", "hello", "--listen", ":1", "-", "--header", "a=1,2", "--header=b=", "--", "--listen", "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"chat:1", "hello", "-", "--listen", "x"}; !reflect.DeepEqual(rest, want) {
		t.Errorf("arguments %q, want %q", rest, want)
	}
	if !v.open || v.listen != ":1" || !reflect.DeepEqual(v.headers, []string{"a=1,2", "b="}) {
		t.Errorf("got %+v", v)
	}
}

func TestAllFaultsAreReportedAtOnceEachWithItsPlace(t *testing.T) {
	path := file(t, `
listen: {}
max_frames: 0
max_frames: 1
log_level: loud
nonsense: 1
broker: x
key: short-secret
id: x
rules:
  - pattern: a
    max_age: soon
  - patern: b
  - c
`)
	v, tab := table()
	_, err := tab.Load(
		[]string{"--ping-intervall=1s", "--ping-interval", "now", "--max-bytes=-1", "--broker=x", "--rules=x", "--config", path, "--origins"},
		[]string{"MILLRACE_OPEN=yes", "MILLRACE_MAX_FRAME=1", "MILLRACE_BROKER=x", "MILLRACE_RULES=x", "MILLRACE_ID=x", "MILLRACE_PORT=tcp://10.0.0.1:80"})
	if err == nil {
		t.Fatal("no fault was found")
	}
	want := []string{
		`--ping-intervall: there is no such setting; did you mean --ping-interval?`,
		`--broker: this is a setting of millrace publish, millrace wsgateway, not of this command`,
		`--rules: this can only be set in the file of --config`,
		`--origins: a value is missing`,
		`MILLRACE_MAX_FRAME: there is no such setting; did you mean MILLRACE_MAX_FRAMES?`,
		`MILLRACE_RULES: this can only be set in the file of --config`,
		`MILLRACE_ID: this can only be given as --id`,
		`MILLRACE_PORT: there is no such setting`,
		`--ping-interval: "now" is not what it should be; want a time such as 500ms, 25s or 1h30m, at least 1s`,
		`--max-bytes: "-1" is not what it should be; want a size such as 4096, 64KiB or 1GiB, at least 1`,
		`MILLRACE_OPEN: "yes" is not what it should be; want true or false`,
		path + `:2: listen: want one value`,
		path + `:3: max_frames: "0" is not what it should be; want a whole number from 1 on`,
		path + `:4: max_frames: this stands twice`,
		path + `:5: log_level: "loud" is not what it should be; want one of debug, info`,
		path + `:6: nonsense: there is no such setting`,
		path + `:7: broker: this is a setting of millrace publish, millrace wsgateway, not of this command`,
		path + `:8: key: want at least 32 bytes`,
		path + `:9: id: this can only be given as --id`,
		path + `:12: max_age: "soon" is not what it should be; want a time such as 500ms, 25s or 1h30m, at least 0s`,
		path + `:13: patern: there is no such setting; did you mean pattern?`,
		path + `:14: want a mapping of names to values`,
	}
	for _, w := range want {
		if !strings.Contains(err.Error()+"\n", w+"\n") {
			t.Errorf("this fault is missing: %s", w)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != len(want) {
		t.Errorf("%d faults, want %d:\n%v", n, len(want), err)
	}
	if v.listen != "127.0.0.1:7401" || v.ping != 25*time.Second {
		t.Errorf("a bad value was taken: %+v", v)
	}
}

func TestAFileThatCantBeReadIsNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for name, c := range map[string]struct{ path, want string }{
		"missing":            {missing, "MILLRACE_CONFIG: open " + missing},
		"not YAML":           {file(t, "listen: [\n"), "this is not YAML; see line "},
		"not a mapping":      {file(t, "- listen"), "want a mapping"},
		"several documents":  {file(t, "listen: a\n---\nlisten: b"), "more than one document"},
		"a file in the file": {file(t, "config: x.yaml"), "config: there is no such setting"},
		"no value":           {file(t, "listen:"), "listen: want one value"},
	} {
		t.Run(name, func(t *testing.T) {
			_, tab := table()
			if _, err := tab.Load(nil, []string{"MILLRACE_CONFIG=" + c.path}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	for _, empty := range []string{"", "# nothing\n", "---\n", "{}"} {
		_, tab := table()
		if _, err := tab.Load([]string{"--config", file(t, empty)}, nil); err != nil {
			t.Errorf("the file %q: %v", empty, err)
		}
	}
}

func TestASecretIsNeverPrinted(t *testing.T) {
	const secret = "hunter2"
	for name, load := range map[string]func(*settings.Table) error{
		"flag":          func(tab *settings.Table) error { _, err := tab.Load([]string{"--key", secret}, nil); return err },
		"mistaken flag": func(tab *settings.Table) error { _, err := tab.Load([]string{"--kee=" + secret}, nil); return err },
		"environment": func(tab *settings.Table) error {
			_, err := tab.Load(nil, []string{"MILLRACE_KEY=" + secret})
			return err
		},
		"unknown variable": func(tab *settings.Table) error {
			_, err := tab.Load(nil, []string{"MILLRACE_KAY=" + secret})
			return err
		},
		"file": func(tab *settings.Table) error {
			_, err := tab.Load([]string{"--config", file(t, "key: "+secret)}, nil)
			return err
		},
		"file with an anchor": func(tab *settings.Table) error {
			_, err := tab.Load([]string{"--config", file(t, "key: *"+secret)}, nil)
			return err
		},
		"file with broken syntax": func(tab *settings.Table) error {
			_, err := tab.Load([]string{"--config", file(t, "key: '"+secret)}, nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, tab := table()
			err := load(tab)
			if err == nil {
				t.Fatal("no fault was found")
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the fault tells the secret: %v", err)
			}
		})
	}
	if _, tab := table(); strings.Contains(tab.Help(), "must not be shown") {
		t.Error("the help text tells a secret's default")
	}
}

func TestRecordsStandInTheFile(t *testing.T) {
	v, tab := table()
	_, err := tab.Load([]string{"--config", file(t, `
rules:
  - {pattern: "chat:**", max_age: 1h}
  - pattern: "**"
`)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.rules) != 2 || *v.rules[0] != (rule{"chat:**", time.Hour}) || *v.rules[1] != (rule{"**", 0}) {
		t.Errorf("rules %v", v.rules)
	}
}

func TestKubernetesServiceLinksAreNoSettings(t *testing.T) {
	_, tab := table()
	_, err := tab.Load(nil, []string{
		"KUBERNETES_SERVICE_HOST=10.0.0.1",
		"MILLRACE_SERVICE_HOST=10.0.0.2", "MILLRACE_SERVICE_PORT=80", "MILLRACE_SERVICE_PORT_HTTP=80",
		"MILLRACE_PORT=tcp://10.0.0.2:80", "MILLRACE_BROKER_PORT_7400_TCP_ADDR=10.0.0.2",
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := tab.Load(nil, []string{"KUBERNETES_SERVICE_HOST=10.0.0.1", "MILLRACE_LISTENN=x"}); err == nil {
		t.Error("a misspelt variable passes as a service link")
	}
}

func TestHelpHasEverySettingWithItsDefault(t *testing.T) {
	_, tab := table()
	const want = `  --listen ADDR               where HTTP is served (default 127.0.0.1:7401)
  --ping-interval TIME        how often the gateway pings (default 25s)
  --max-frames N              frames (default 8)
  --max-bytes SIZE            bytes (default 64KiB)
  --open                      let everyone in
  --origins ORIGIN            origins of pages that may connect (default https://a.example)
  --header NAME=VALUE         headers
  --log-level debug|info      what is logged (default info)
  --key KEY                   secret
  rules:                      rules (file only)
  --id ID                     id of the event
  --config FILE               YAML file with settings
`
	if got := tab.Help(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := tab.Load([]string{"--listen", "x", "--help"}, nil); !errors.Is(err, settings.ErrHelp) {
		t.Errorf("error %v", err)
	}
}
