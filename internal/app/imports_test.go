package app_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tenantry/tenantry/"

// imports says what each package may import of this module. A package that is
// not here has yet to find its place.
var imports = map[string][]string{
	"cmd/tenantry": {"internal/app", "internal/cli", "internal/config"},
	"internal/app": {
		"api", "client", "internal/admission", "internal/auth", "internal/carrier", "internal/cli", "internal/config", "internal/httpapi", "internal/mail", "internal/portal",
		"internal/service", "internal/signon", "internal/store", "internal/tenant", "internal/webhook",
	},
	"internal/httpapi":   {"api", "internal/admission", "internal/auth", "internal/carrier", "internal/csvfile", "internal/service", "internal/store", "internal/tenant"},
	"internal/portal":    {"internal/auth", "internal/csvfile", "internal/mail", "internal/service", "internal/signon", "internal/store", "internal/tenant"},
	"internal/csvfile":   {"api", "internal/service", "internal/tenant"},
	"internal/service":   {"internal/auth", "internal/directory", "internal/mail", "internal/store", "internal/tenant"},
	"internal/signon":    {"internal/service", "internal/tenant"},
	"internal/mail":      {},
	"internal/admission": {"internal/store", "internal/tenant"},
	"internal/carrier":   {"internal/store", "internal/tenant"},
	"internal/webhook":   {"api", "internal/store", "internal/tenant"},
	"internal/auth":      {"internal/store", "internal/tenant"},
	"internal/store":     {"internal/directory", "internal/tenant"},
	"internal/cli":       {"api", "client"},
	"client":             {"api"},
	"internal/config":    {},
	"internal/tenant":    {},
	"internal/directory": {},
	"api":                {},
	// What follows is for tests alone.
	"internal/dbtest":  {"internal/auth", "internal/pgtest", "internal/service", "internal/store", "internal/tenant"},
	"internal/faultfs": {},
	"internal/pgtest":  {},
}

// standard are the packages that import nothing from outside but the standard
// library (and what imports says).
var standard = []string{"api", "client", "internal/directory", "internal/tenant"}

// exporter is what only a program that was built with -tags otlp contains.
var exporter = []string{"go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters"}

// forTests are the packages that no program may contain.
var forTests = []string{"internal/dbtest", "internal/faultfs", "internal/pgtest"}

// TestImports holds the direction of imports, as docs/design.md draws it, and
// wants a package comment in every package.
func TestImports(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	commented := map[string]bool{}
	err := fs.WalkDir(os.DirFS(root), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata" || entry.Name() == "node_modules") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		folder := path.Dir(name)
		if strings.Split(folder, "/")[0] == "bench" || strings.Split(folder, "/")[0] == "test" {
			return nil // programs that look at the server from outside
		}
		file := parse(t, filepath.Join(root, name))
		commented[folder] = commented[folder] || file.Doc != nil
		allowed, known := imports[folder]
		if !known {
			t.Errorf("%s: package %s has no row in the table of imports", name, folder)
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			own, isOwn := strings.CutPrefix(imported, module)
			switch {
			case isOwn && !slices.Contains(allowed, own):
				t.Errorf("%s: %s may not import %s", name, folder, own)
			case isOwn && slices.Contains(forTests, own) && !slices.Contains(forTests, folder):
				t.Errorf("%s: %s is for tests alone", name, own)
			case slices.ContainsFunc(exporter, func(module string) bool { return strings.HasPrefix(imported, module) }) &&
				(len(file.Comments) == 0 || file.Comments[0].List[0].Text != "//go:build otlp"):
				t.Errorf("%s: %s stands behind the build tag otlp", name, imported)
			case strings.HasPrefix(imported, "github.com/prometheus/") && folder != "internal/app":
				t.Errorf("%s: metrics are made in internal/app", name)
			case !isOwn && slices.Contains(standard, folder) && strings.Contains(strings.Split(imported, "/")[0], "."):
				t.Errorf("%s: %s imports the standard library alone, and not %s", name, folder, imported)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder, has := range commented {
		if !has {
			t.Errorf("package %s has no package comment", folder)
		}
	}
	if len(commented) < 10 {
		t.Errorf("saw %d packages only", len(commented))
	}
}
