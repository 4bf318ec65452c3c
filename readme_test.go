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

// TestReadme holds the README and the other pages to what is compiled and executed: every Go block stands,
// but for its indentation, in a file of examples, every link leads somewhere, and every command is one that
// works.
func TestReadme(t *testing.T) {
	executed := executedFiles(t)
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md") {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			checkSnippets(t, string(text), executed)
			checkLinks(t, page, string(text))
			if filepath.Dir(page) == "." {
				checkCommands(t, string(text))
			}
		})
	}
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(blocks(string(readme), "go")), 8)
}

func executedFiles(t *testing.T) (executed []string) {
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "store/*/example_test.go", "examples/*/*.go"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			source, err := os.ReadFile(file)
			require.NoError(t, err)
			executed = append(executed, executedParts(t, file, source)...)
		}
	}
	return executed
}

func checkSnippets(t *testing.T, page string, executed []string) {
	for _, snippet := range blocks(page, "go") {
		found := false
		for _, part := range executed {
			found = found || strings.Contains(part, outdented(snippet))
		}
		require.True(t, found, "the page prints what no example contains:\n%s", snippet)
	}
}

func checkLinks(t *testing.T, page, text string) {
	for _, code := range blocks(text, "go") {
		text = strings.Replace(text, code, "", 1)
	}
	for _, link := range regexp.MustCompile(`\]\(([^)#]+)`).FindAllStringSubmatch(text, -1) {
		if !strings.HasPrefix(link[1], "https://") {
			_, err := os.Stat(filepath.Join(filepath.Dir(page), filepath.FromSlash(link[1])))
			require.NoError(t, err)
		}
	}
}

func checkCommands(t *testing.T, page string) {
	commands := strings.Split(strings.Join(blocks(page, "sh"), ""), "\n")
	for _, command := range append(commands, quoted(page)...) {
		checkCommand(t, command)
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
	text := func(from, to ast.Decl) string {
		start := from.Pos()
		if doc := docOf(from); doc != nil {
			start = doc.Pos()
		}
		return string(source[start-1 : to.End()-1])
	}
	var parts []string
	for i, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Example") {
			require.Regexp(t, `\n\t// (Unordered output|Output):`, text(d, d), "go test only compiles an example without its output")
		}
		// A page may print a type with its methods, or a function with one that it calls.
		last := min(i+2, len(parsed.Decls)-1)
		parts = append(parts, outdented(text(d, parsed.Decls[last])))
	}
	return parts
}

func docOf(d ast.Decl) *ast.CommentGroup {
	if f, ok := d.(*ast.FuncDecl); ok {
		return f.Doc
	}
	return d.(*ast.GenDecl).Doc
}

func blocks(markdown, language string) (found []string) {
	for _, m := range regexp.MustCompile("(?ms)^ *```"+language+"\n(.*?)^ *```$").FindAllStringSubmatch(markdown, -1) {
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
