package millrace_test

import (
	"errors"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/millrace-dev/millrace"

// The parts of the module that others name.
const (
	root     = "."
	contract = "proto/millrace/v1"
	anything = "*"
)

// allowed is what a package may import.
type allowed struct {
	ours   []string // packages of this module, or patterns of them
	others []string // modules that are neither ours nor the standard library, or the beginning of their path
	never  []string // of the standard library
}

var (
	grpcModules = []string{"google.golang.org/grpc", "google.golang.org/protobuf", "google.golang.org/genproto/googleapis/rpc"}
	network     = []string{"net", "net/http"}
)

// houses is the table of allowed imports (ARCHITECTURE.md). Imports point toward the root, siblings do not see each
// other, and only the binary knows everyone.
var houses = map[string]allowed{
	root:                {never: network},
	contract:            {others: grpcModules},
	"proto/wire":        {ours: []string{root, contract}, others: grpcModules},
	"broker":            {ours: []string{root, "broker/internal/*"}, never: network},
	"broker/internal/*": {never: network},
	"broker/memlog":     {ours: []string{root, "broker", "broker/internal/*"}, never: network},
	"broker/brokertest": {ours: []string{root, "broker"}, never: network},
	"broker/rpc":        {ours: []string{root, "broker", "broker/rpc/internal/*", contract, "proto/wire"}, others: grpcModules},

	"broker/internal/tail": {ours: []string{root, "broker/internal/ring"}, never: network},

	"broker/rpc/internal/message": {ours: []string{root, contract, "proto/wire"}, others: grpcModules, never: network},

	"gateway":                  {ours: []string{root, "gateway/internal/*"}, never: network},
	"gateway/internal/turn":    {never: network},
	"gateway/internal/seal":    {never: network},
	"gateway/internal/tail":    {ours: []string{root}, never: network},
	"gateway/internal/replay":  {ours: []string{root}, never: network},
	"gateway/internal/source":  {ours: []string{root, "gateway/internal/tail"}, never: network},
	"gateway/internal/roster":  {ours: []string{root, "gateway/internal/source", "gateway/internal/tail"}, never: network},
	"gateway/internal/door":    {ours: []string{root, "gateway/internal/turn"}, never: network},
	"gateway/internal/absence": {ours: []string{root}, never: network},
	"gateway/internal/enrol":   {ours: []string{root}, never: network},

	"gateway/frame":       {ours: []string{root, "gateway", contract, "proto/wire"}, others: []string{"google.golang.org/protobuf"}},
	"gateway/socket":      {ours: []string{root, "gateway"}, others: []string{"golang.org/x/sys/unix"}},
	"gateway/httpapi":     {ours: []string{root, "gateway", "gateway/frame"}},
	"gateway/gatewaytest": {ours: []string{root, "gateway"}, never: network},
	"wsgateway":           {ours: []string{root, "gateway", "gateway/frame", "gateway/socket", "gateway/httpapi"}, others: []string{"github.com/gorilla/websocket"}},
	"ssegateway":          {ours: []string{root, "gateway", "gateway/frame", "gateway/socket", "gateway/httpapi"}},

	"auth":                  {ours: []string{root}, others: []string{"github.com/golang-jwt/jwt/v5"}},
	"sdk/go":                {ours: []string{root, contract, "proto/wire"}, others: grpcModules},
	"cmd/millrace":          {ours: []string{anything}, others: grpcModules},
	"cmd/millrace/console":  {},
	"cmd/millrace/settings": {others: []string{"go.yaml.in/yaml/v3"}},
}

func TestImportsKeepToTheTable(t *testing.T) {
	seen := map[string]bool{}
	for folder, imports := range sourceImports(t) {
		row, ok := house(folder)
		if !ok {
			t.Errorf("package %s is not in the table", folder)
			continue
		}
		seen[row] = true
		for imported, file := range imports {
			if !houses[row].allows(imported) {
				t.Errorf("%s imports %s, which the table does not allow to %s", file, imported, folder)
			}
		}
	}
	for row := range houses {
		if !seen[row] {
			t.Errorf("the table has %s, which there is not", row)
		}
	}
}

// house returns the row of a package: its own, or that of a pattern.
func house(folder string) (string, bool) {
	if _, ok := houses[folder]; ok {
		return folder, true
	}
	pattern := path.Dir(folder) + "/*"
	_, ok := houses[pattern]
	return pattern, ok
}

func (a allowed) allows(imported string) bool {
	if imported == module {
		imported = module + "/" + root
	}
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.ContainsFunc(a.ours, func(pattern string) bool {
			matched, err := path.Match(pattern, ours)
			return err == nil && matched || pattern == anything
		})
	}
	if first, _, _ := strings.Cut(imported, "/"); strings.Contains(first, ".") {
		return slices.ContainsFunc(a.others, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") })
	}
	return !slices.Contains(a.never, imported)
}

// sourceImports returns what each package of the module imports outside of its tests, with a file that does.
func sourceImports(t *testing.T) map[string]map[string]string {
	t.Helper()
	packages := map[string]map[string]string{}
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return skipped(name, d)
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(name))
		if packages[folder] == nil {
			packages[folder] = map[string]string{}
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			packages[folder][imported] = name
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// skipped leaves out what is not of this module: hidden folders, other languages' packages and nested modules.
func skipped(name string, d fs.DirEntry) error {
	if name == "." {
		return nil
	}
	if strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata" {
		return fs.SkipDir
	}
	switch _, err := os.Stat(filepath.Join(name, "go.mod")); {
	case err == nil:
		return fs.SkipDir
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}
