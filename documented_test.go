package webhook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestEveryNameIsDocumented wants a comment on every exported name of the packages that others import:
// its own, at its line's end, or on its group.
func TestEveryNameIsDocumented(t *testing.T) {
	found := 0
	for _, dir := range importable(t) {
		names, undocumented := exportedNames(t, dir)
		require.Empty(t, undocumented, "in %s", dir)
		found += names
	}
	require.Greater(t, found, 500)
}

// importable returns the directories of packages that a program outside may import.
func importable(t *testing.T) (dirs []string) {
	require.NoError(t, filepath.WalkDir(".", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		switch name := entry.Name(); {
		case name == "internal", name == "testdata", name == "examples", name == "benchmarks", name != "." && name[0] == '.':
			return filepath.SkipDir
		}
		dirs = append(dirs, path)
		return nil
	}))
	return dirs
}

func exportedNames(t *testing.T, dir string) (names int, undocumented []string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	require.NoError(t, err)
	packageDoc := len(files) == 0
	check := func(name string, comments ...*ast.CommentGroup) {
		if !ast.IsExported(name[strings.LastIndexByte(name, '.')+1:]) {
			return
		}
		names++
		for _, c := range comments {
			if c.Text() != "" {
				return
			}
		}
		undocumented = append(undocumented, name)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			packageDoc = packageDoc || dir == "docs"
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		require.NoError(t, err)
		packageDoc = packageDoc || parsed.Doc.Text() != ""
		for _, d := range parsed.Decls {
			checkDecl(d, check)
		}
	}
	require.True(t, packageDoc, "the package in %s says nothing", dir)
	return names, undocumented
}

// asEveryError are methods that need no words.
var asEveryError = map[string]bool{"Error": true, "Unwrap": true}

func checkDecl(d ast.Decl, check func(name string, comments ...*ast.CommentGroup)) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if receiver := receiverOf(d); receiver == "" {
			check(d.Name.Name, d.Doc)
		} else if ast.IsExported(receiver) && !asEveryError[d.Name.Name] {
			check(receiver+"."+d.Name.Name, d.Doc)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				check(s.Name.Name, s.Doc, s.Comment, d.Doc)
				if ast.IsExported(s.Name.Name) {
					checkMembers(s, check)
				}
			case *ast.ValueSpec:
				for _, name := range s.Names {
					check(name.Name, s.Doc, s.Comment, d.Doc)
				}
			}
		}
	}
}

// checkMembers looks at the methods of an interface. What the only one does, the type's comment may say.
func checkMembers(s *ast.TypeSpec, check func(name string, comments ...*ast.CommentGroup)) {
	i, ok := s.Type.(*ast.InterfaceType)
	if !ok || countNames(i.Methods) == 1 {
		return
	}
	for _, method := range i.Methods.List {
		for _, name := range method.Names {
			check(s.Name.Name+"."+name.Name, method.Doc, method.Comment)
		}
	}
}

func countNames(methods *ast.FieldList) (count int) {
	for _, method := range methods.List {
		count += len(method.Names) // none: embedded
	}
	return count
}

func receiverOf(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	kind := f.Recv.List[0].Type
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	if generic, ok := kind.(*ast.IndexExpr); ok {
		kind = generic.X
	}
	return kind.(*ast.Ident).Name
}
