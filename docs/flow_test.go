package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What the page about flow names as tests and rules of storetest, is there.
func TestFlowNamesTestsThatExist(t *testing.T) {
	page, err := os.ReadFile("flow.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(page), "## What holds each rule")
	require.True(t, found)
	read := func(patterns ...string) (text string) {
		for _, pattern := range patterns {
			files, err := filepath.Glob(pattern)
			require.NoError(t, err)
			for _, file := range files {
				source, err := os.ReadFile(file)
				require.NoError(t, err)
				text += string(source)
			}
		}
		return text
	}
	tests, rules := read("../*_test.go", "../store/sqlite/*_test.go"), read("../store/storetest/*.go")
	names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(table, -1)
	require.Greater(t, len(names), 50)
	for _, name := range names {
		require.Contains(t, tests, "func "+name[1]+"(")
	}
	quoted := regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(table, -1)
	require.Greater(t, len(quoted), 30)
	for _, rule := range quoted {
		require.Contains(t, rules, `{name: "`+rule[1]+`"`)
	}
}
