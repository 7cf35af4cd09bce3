package tenant_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/tenant"
)

// TestEvents: Events has every event that a rule names, and docs/webhooks.md tells of
// each of them and of no other.
func TestEvents(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := string(text)
		if file == "change.go" { // not the list itself
			from, to := strings.Index(source, "var Events"), strings.Index(source, "// Diff is")
			source = source[:from] + source[to:]
		}
		for _, match := range regexp.MustCompile(`"([a-z_]+\.[a-z_]+)"`).FindAllStringSubmatch(source, -1) {
			named[match[1]] = !strings.HasSuffix(file, "_test.go") || named[match[1]]
		}
	}
	fields := []string{
		"balance.balance", "balance.credit_limit", "manager.channel_pool", "api_key.name", "api_key.expires_at", "invitation.email", "invitation.group_ids",
		"single_sign_on.issuer", "single_sign_on.client_id", "single_sign_on.domains", "single_sign_on.required", "single_sign_on.secret_set", "single_sign_on.subject",
	}
	for name, ours := range named {
		if ours && !slices.Contains(tenant.Events, name) && !slices.Contains(fields, name) {
			t.Errorf("%s is an event, and not in Events", name)
		}
	}
	for _, name := range tenant.Events {
		if !named[name] {
			t.Errorf("%s is no event of any rule", name)
		}
	}
	page, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for line := range strings.Lines(string(page)) {
		if first, _, is := strings.Cut(strings.TrimPrefix(line, "| "), " | "); is && strings.Contains(first, ".") {
			for _, match := range regexp.MustCompile("`([a-z_]+\\.[a-z_]+)`").FindAllStringSubmatch(first, -1) {
				told = append(told, match[1])
			}
		}
	}
	slices.Sort(told)
	want := append(slices.Clone(tenant.Events), "webhook.test")
	if !slices.IsSorted(tenant.Events) || !slices.Equal(told, want) {
		t.Errorf("docs/webhooks.md tells of\n%s, not of\n%s", told, want)
	}
}
