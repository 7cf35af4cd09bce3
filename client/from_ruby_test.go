package client_test

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// blocks are the code blocks of a language in docs/from-ruby.md.
func blocks(t *testing.T, language string) (code []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/from-ruby.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllSubmatch(text, -1) {
		code = append(code, string(one[1]))
	}
	return code
}

// TestFromRuby compiles every Go block of docs/from-ruby.md into one program and
// runs them, in their order, against a server.
func TestFromRuby(t *testing.T) {
	t.Parallel()
	code := blocks(t, "go")
	var functions, calls strings.Builder
	imports := []string{"context", "errors", "fmt", "io", "log", "os", "time"}
	for i, block := range code {
		if formatted, err := format.Source([]byte(block)); err != nil || string(formatted) != block {
			t.Errorf("block %d is not as gofmt writes it: %v\n%s", i, err, block)
		}
		if program, ok := strings.CutPrefix(block, "package main\n"); ok {
			_, body, _ := strings.Cut(program, "\n)\n")
			fmt.Fprintf(&functions, "%s\n", strings.Replace(body, "func main()", fmt.Sprintf("func main%d()", i), 1))
			fmt.Fprintf(&calls, "main%d()\n", i)
			continue
		}
		fmt.Fprintf(&functions, "func block%d(ctx context.Context, c *client.Client, id, userID string) error {\n{\n%s}\nreturn nil\n}\n\n", i, block)
		fmt.Fprintf(&calls, "if err := block%d(ctx, c, id, userID); err != nil {\nlog.Fatalf(\"block %d: %%v\", err)\n}\n", i, i)
	}
	program := "package main\n\nimport (\n\"" + strings.Join(imports, "\"\n\"") + "\"\n\n\"github.com/tenantry/tenantry/client\"\n)\n\n" +
		"var _, _, _, _ = errors.New, io.EOF, os.Args, time.Now\n\n" + functions.String() +
		"func main() {\nctx, c, id, userID := context.Background(), client.New(), os.Args[1], os.Args[2]\n" + calls.String() + "}\n"

	folder := t.TempDir()
	source, binary := filepath.Join(folder, "main.go"), filepath.Join(folder, "from-ruby")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", binary, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, program)
	}
	eachServer(t, func(t *testing.T, s *server) { runFromRuby(t, s, binary) })
}

func runFromRuby(t *testing.T, s *server, binary string) {
	run := exec.CommandContext(t.Context(), binary, larry, userID)
	run.WaitDelay = time.Second
	run.Env = append(os.Environ(), "TELNYX_BASE_URL="+s.base+"/v2", "TELNYX_API_KEY="+managerKey)
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"larry@example.com", "user@example.com is out", "400.00", "1500.00 USD", "page 1 of 1", "organization_user.removed", "never signed in"} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the program does not print %q:\n%s", want, out)
		}
	}
	if bytes.Contains(out, []byte("no answer in time")) || bytes.Contains(out, []byte("Another refusal")) {
		t.Errorf("the program meets an error:\n%s", out)
	}
}

// TestFromRubyIsWhole wants all operations on both sides, and the promise of ten
// lines kept: those that hold more than a bracket.
func TestFromRubyIsWhole(t *testing.T) {
	t.Parallel()
	goCode, ruby := blocks(t, "go"), strings.Join(blocks(t, "ruby"), "")
	lines := 0
	for line := range strings.Lines(goCode[0]) {
		if !slices.Contains([]string{"", "}", ")"}, strings.TrimSpace(line)) {
			lines++
		}
	}
	if lines > 10 {
		t.Errorf("the first program has %d lines", lines)
	}
	for twin, original := range map[string]string{
		"ManagedAccounts.List(":                              "managed_accounts.list(",
		"ManagedAccounts.All(":                               "auto_paging_each",
		"ManagedAccounts.Create(":                            "managed_accounts.create(",
		"ManagedAccounts.Retrieve(":                          "managed_accounts.retrieve(",
		"ManagedAccounts.Update(":                            "managed_accounts.update(",
		"ManagedAccounts.Disable(":                           "managed_accounts.actions.disable(",
		"ManagedAccounts.Enable(":                            "managed_accounts.actions.enable(",
		"ManagedAccounts.UpdateGlobalChannelLimit(":          "managed_accounts.update_global_channel_limit(",
		"ManagedAccounts.AllocatableGlobalOutboundChannels(": "managed_accounts.get_allocatable_global_outbound_channels",
		"OrganizationUsers.List(":                            "organizations.users.list(",
		"OrganizationUsers.Retrieve(":                        "organizations.users.retrieve(",
		"OrganizationUsers.GroupsReport(":                    "organizations.users.get_groups_report",
		"OrganizationUsers.GroupsReportCSV(":                 `accept: "text/csv"`,
		"OrganizationUsers.Remove(":                          "organizations.users.actions.remove(",
		"Balance.Retrieve(":                                  "balance.retrieve",
		"Messages.Send(":                                     "messages.send_(",
		"AuditEvents.All(":                                   "audit_events.list(",
		"errors.As(err, &refused)":                           "Telnyx::Errors::APIStatusError",
		"WithRetries(":                                       "max_retries:",
		"WithTimeout(":                                       "timeout:",
	} {
		if !strings.Contains(strings.Join(goCode, ""), twin) || !strings.Contains(ruby, original) {
			t.Errorf("%s and %s are not both there", twin, original)
		}
	}
}
