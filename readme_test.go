package webhook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReadme holds the README to what is compiled and executed: every Go block stands, but for its
// indentation, in a file of examples, and every command is one that works.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	var executed []string
	for _, pattern := range []string{"*_test.go", "store/sqlite/example_test.go", "examples/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			executed = append(executed, executedParts(t, file, source)...)
		}
	}

	snippets := blocks(string(readme), "go")
	require.GreaterOrEqual(t, len(snippets), 8)
	for _, snippet := range snippets {
		found := false
		for _, part := range executed {
			found = found || strings.Contains(part, outdented(snippet))
		}
		require.True(t, found, "the README prints what no example contains:\n%s", snippet)
	}
	commands := strings.Split(strings.Join(blocks(string(readme), "sh"), ""), "\n")
	commands = append(commands, quoted(string(readme))...)
	for _, command := range commands {
		checkCommand(t, command)
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(string(readme), -1) {
		if !strings.HasPrefix(link[1], "https://") {
			require.FileExists(t, filepath.FromSlash(link[1]))
		}
	}
}

// executedParts returns the functions of a file that run when the tests do, or a whole program, which
// its own test runs.
func executedParts(t *testing.T, file string, source []byte) []string {
	if !strings.HasSuffix(file, "_test.go") {
		tests, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*_test.go"))
		require.NoError(t, err)
		require.NotEmpty(t, tests, "%s is run by no test", file)
		return []string{outdented(string(source))}
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ParseComments)
	require.NoError(t, err)
	var parts []string
	for _, d := range parsed.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		start := f.Pos()
		if f.Doc != nil {
			start = f.Doc.Pos()
		}
		text := string(source[start-1 : f.End()-1])
		if strings.HasPrefix(f.Name.Name, "Example") {
			require.Regexp(t, `\n\t// (Unordered output|Output):`, text, "go test only compiles an example without its output")
		}
		parts = append(parts, outdented(text))
	}
	return parts
}

func blocks(markdown, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		found = append(found, m[1])
	}
	return found
}

// quoted returns the commands that stand in running text.
func quoted(markdown string) (found []string) {
	for _, m := range regexp.MustCompile("`(go (?:run|test|get) [^`]+)`").FindAllStringSubmatch(markdown, -1) {
		found = append(found, m[1])
	}
	return found
}

func checkCommand(t *testing.T, command string) {
	words := strings.Fields(command)
	if len(words) == 0 {
		return
	}
	switch strings.Join(words[:min(2, len(words))], " ") {
	case "go test":
		require.Equal(t, "go test ./...", command)
	case "go get":
		mod, err := os.ReadFile("go.mod")
		require.NoError(t, err)
		require.Contains(t, string(mod), "module "+words[2]+"\n")
	case "go run":
		require.FileExists(t, path.Join(words[2], "main.go"))
	default:
		info, err := os.Stat(words[0])
		require.NoError(t, err, "unknown command in the README: %s", command)
		require.True(t, runtime.GOOS == "windows" || info.Mode()&0o100 != 0, "%s cannot be executed", words[0])
	}
}

// outdented is the text without what stands before each line.
func outdented(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	return strings.Join(lines, "\n")
}
