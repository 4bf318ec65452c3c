package webhook_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// linked returns the packages that a program with these imports is made of.
func linked(t *testing.T, packages ...string) []string {
	out, err := exec.Command("go", append([]string{"list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}"}, packages...)...).Output()
	require.NoError(t, err)
	standard, err := exec.Command("go", append([]string{"list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}"}, packages...)...).Output()
	require.NoError(t, err)
	return append(strings.Fields(string(out)), strings.Fields(string(standard))...)
}

// modulesOf returns the modules of packages, the standard library and this module left out.
func modulesOf(t *testing.T, packages ...string) []string {
	out, err := exec.Command("go", append([]string{"list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}"}, packages...)...).Output()
	require.NoError(t, err)
	seen := map[string]bool{}
	var modules []string
	for _, m := range strings.Fields(string(out)) {
		if !seen[m] {
			seen[m] = true
			modules = append(modules, m)
		}
	}
	return modules
}

// Who imports the core alone pays for nothing else: no database, no telemetry, no pages.
func TestCoreLinksNothingElse(t *testing.T) {
	foreign := regexp.MustCompile(`sqlite|^database/sql$|pgx|postgres|opentelemetry|prometheus|^html/template$|^text/template$|` +
		`jsonschema|testify|^testing$|^golang\.org/x/oauth2|/webhook/(store/sqlite|store/postgres|console|otelwebhook|promwebhook|catalog|schema|webhooktest)`)
	for _, packages := range [][]string{{"."}, {"./store/memory"}, {".", "./store/memory"}} {
		deps := linked(t, packages...)
		require.Contains(t, deps, "net/http", "the list is empty")
		for _, dep := range deps {
			require.NotRegexp(t, foreign, dep, "%v", packages)
		}
	}
	require.Regexp(t, foreign, strings.Join(linked(t, "./store/sqlite"), "\n"), "the pattern finds what it is for")
	require.ElementsMatch(t, coreModules, modulesOf(t, ".", "./store/memory"))
}

// Telemetry packages bring only what they are named for, and no database.
func TestTelemetryLinksNoDatabase(t *testing.T) {
	require.ElementsMatch(t, append([]string{"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace"}, coreModules...),
		modulesOf(t, "./otelwebhook"), "the API, and no SDK")
	for _, packages := range []string{"./otelwebhook", "./promwebhook"} {
		for _, dep := range linked(t, packages) {
			require.NotRegexp(t, `sqlite|pgx|^html/template$`, dep)
		}
	}
}

// A module outside that imports the core adds to its go.sum what docs/dependencies.md says.
func TestGoSumOfAnImporter(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	write("go.mod", "module importer\n\ngo 1.26.0\n\nrequire github.com/outhook/webhook v0.0.0\n\nreplace github.com/outhook/webhook => "+here+"\n")
	write("main.go", "package main\n\nimport (\n\t_ \"github.com/outhook/webhook\"\n\t_ \"github.com/outhook/webhook/store/memory\"\n)\n\nfunc main() {}\n")
	command := exec.Command("go", "build", "-mod=mod", "-o", filepath.Join(dir, "importer.exe"), ".")
	command.Dir = dir
	command.Env = append(command.Environ(), "GOWORK=off")
	out, err := command.CombinedOutput()
	require.NoError(t, err, string(out))
	sum, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	require.NoError(t, err)
	page, err := os.ReadFile("docs/dependencies.md")
	require.NoError(t, err)
	require.Contains(t, string(page), fmt.Sprintf("**%d lines**", strings.Count(string(sum), "\n")), string(sum))
	for _, m := range coreModules {
		require.Contains(t, string(page), "| "+m+" |")
	}
}

// coreModules are what docs/dependencies.md lists.
var coreModules = []string{
	"code.dny.dev/ssrf", "github.com/cenkalti/backoff/v4", "github.com/oklog/ulid/v2", "golang.org/x/exp", "golang.org/x/time",
}
