package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// drawers are package names that say nothing.
var drawers = []string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "shared", "base", "internal", "pkg", "cmd"}

// wellKnown methods say all by their names: they implement the standard library's
// smallest interfaces.
var wellKnown = []string{"String", "Error", "Unwrap"}

// files parses the non-test Go files of a package.
func files(t *testing.T, p pkg) (*token.FileSet, map[string]*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	all := map[string]*ast.File{}
	for _, name := range append(slices.Clone(p.GoFiles), p.CgoFiles...) {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		all[p.path()+"/"+name] = f
	}
	return fset, all
}

func TestHouse(t *testing.T) {
	law := readPlan(t)
	for _, p := range list(t) {
		if p.Doc == "" {
			t.Errorf("%s: no package comment", p.path())
		}
		for _, part := range strings.Split(p.path(), "/") {
			if slices.Contains(drawers, part) {
				t.Errorf("%s: %q is a drawer, not a noun", p.path(), part)
			}
		}
		fset, all := files(t, p)
		for name, f := range all {
			onBox := floors[law.floor[p.path()]] == "processes"
			if onBox && strings.HasSuffix(name, "/main.go") {
				checkMain(t, name, f)
			}
			pure := floors[law.floor[p.path()]] == "judgement"
			ast.Inspect(f, func(n ast.Node) bool {
				checkNode(t, fset, p, n, pure)
				return true
			})
			checkDocs(t, fset, f)
		}
	}
}

// checkNode finds what the house forbids anywhere, and what judgement must not do.
func checkNode(t *testing.T, fset *token.FileSet, p pkg, n ast.Node, pure bool) {
	at := func() string {
		pos := fset.Position(n.Pos())
		return p.path() + "/" + filepath.Base(pos.Filename)
	}
	switch n := n.(type) {
	case *ast.GoStmt:
		if pure {
			t.Errorf("%s: a goroutine in judgement", at())
		}
	case *ast.FuncDecl:
		if n.Recv == nil && n.Name.Name == "init" {
			t.Errorf("%s: func init", at())
		}
	case *ast.SelectorExpr:
		x, ok := n.X.(*ast.Ident)
		if !ok {
			return
		}
		switch call := x.Name + "." + n.Sel.Name; call {
		case "log.Fatal", "log.Fatalf", "log.Panic", "http.HandleFunc", "http.DefaultServeMux":
			t.Errorf("%s: %s", at(), call)
		case "time.Now", "time.Since", "time.Sleep", "time.After", "time.NewTimer":
			if pure {
				t.Errorf("%s: %s in judgement; take now as an argument", at(), call)
			}
		case "os.Exit":
			if p.Name != "main" {
				t.Errorf("%s: os.Exit outside a main", at())
			}
		}
	}
}

// checkMain: Landlock's TCP rules don't see MPTCP sockets, which Go opens by
// default; so every program turns them off.
func checkMain(t *testing.T, name string, f *ast.File) {
	for _, g := range f.Comments {
		for _, c := range g.List {
			if c.Text == "//go:debug multipathtcp=0" {
				return
			}
		}
	}
	t.Errorf("%s: no //go:debug multipathtcp=0", name)
}

// checkDocs: what is exported is documented.
func checkDocs(t *testing.T, fset *token.FileSet, f *ast.File) {
	missing := func(name *ast.Ident) {
		pos := fset.Position(name.Pos())
		t.Errorf("%s:%d: %s is exported and has no comment", filepath.Base(filepath.Dir(pos.Filename))+"/"+filepath.Base(pos.Filename), pos.Line, name.Name)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Name.IsExported() && d.Doc == nil && exportedRecv(d) && !slices.Contains(wellKnown, d.Name.Name) {
				missing(d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
					missing(s.Name)
				}
			}
		}
	}
}

// exportedRecv reports whether a function's receiver, if any, is exported.
func exportedRecv(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	typ := d.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if gen, ok := typ.(*ast.IndexExpr); ok {
		typ = gen.X
	}
	id, ok := typ.(*ast.Ident)
	return ok && id.IsExported()
}

// Programs are folders with a main; the table must name them all and no other.
func TestProgramTable(t *testing.T) {
	law := readPlan(t)
	want := map[string]bool{}
	for _, p := range list(t) {
		if p.Name == "main" && floors[law.floor[p.path()]] != "lab" {
			want[p.path()] = true
		}
	}
	got := map[string]bool{}
	for _, r := range table(t, "Programs") {
		for _, folder := range names(r["folder"]) {
			got[folder] = true
			if !want[folder] {
				t.Errorf("the table names %s, which is no program", folder)
			}
			if program := names(r["program"])[0]; program != filepath.Base(folder) {
				t.Errorf("folder %s holds program %q: want the same name", folder, program)
			}
		}
	}
	for folder := range want {
		if !got[folder] {
			t.Errorf("program %s is not in the table", folder)
		}
	}
}

// Wire files are constants of firmware/wire; the table must name them all, with
// a producer and consumers that are programs.
func TestWireTable(t *testing.T) {
	programs := map[string]bool{"all": true}
	for _, r := range table(t, "Programs") {
		programs[names(r["program"])[0]] = true
	}
	src, err := os.ReadFile(filepath.Join(root, "firmware/wire/wire.go"))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, r := range table(t, "Wire files") {
		count++
		file := names(r["file"])[0]
		if !strings.Contains(string(src), `"`+file+`"`) {
			t.Errorf("%s is not a constant of firmware/wire", file)
		}
		if producer := names(r["producer"])[0]; producer+".json" != file || !programs[producer] {
			t.Errorf("%s: producer %q", file, producer)
		}
		for _, c := range names(r["consumers"]) {
			if !programs[c] {
				t.Errorf("%s: consumer %q is no program", file, c)
			}
		}
	}
	if n := strings.Count(string(src), `.json"`); n != count {
		t.Errorf("firmware/wire has %d files, the table %d", n, count)
	}
}

// Each make target the documents name exists, and help lists it.
func TestMakeTargets(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{"README.md", "ARCHITECTURE.md"} {
		text, err := os.ReadFile(filepath.Join(root, doc))
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range quoted.FindAllStringSubmatch(string(text), -1) {
			target, is := strings.CutPrefix(code[1], "make ")
			pattern := strings.SplitAfter(target, "-")[0] + "%"
			if is && !hasTarget(string(makefile), target) && !hasTarget(string(makefile), pattern) {
				t.Errorf("%s names `make %s`, the Makefile has no such target", doc, target)
			}
		}
	}
}

// hasTarget reports whether a rule of the Makefile begins with the target.
func hasTarget(makefile, target string) bool {
	return strings.Contains("\n"+makefile, "\n"+target+":")
}
