package app_test

import (
	"encoding/json"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/httpapi"
)

// These tests hold deploy/ and the program together, and its files with one
// another. Whether HAProxy, Prometheus, systemd and Docker like them, only those can
// tell: deploy/README.md. What asks about admission runs in proxy_test.go.

// exportedMetrics are the metrics of our own that a server has, and of the standard
// collectors those that the alerts ask for. Histograms are named without their
// suffix. TestExportedMetrics holds a running server to it.
var exportedMetrics = []string{
	"tenantry_build_info",
	"tenantry_cache_trusted",
	"tenantry_commit_duration_seconds",
	"tenantry_commits_unresolved_total",
	"tenantry_database_up",
	"tenantry_http_request_duration_seconds",
	"tenantry_http_requests_in_flight",
	"tenantry_http_requests_total",
	"tenantry_rate_limited_total",
	"tenantry_webhook_events_total",
	"tenantry_webhook_oldest_seconds",
	"tenantry_writes_total",
	"tenantry_writes_waiting",

	"go_goroutines",
	"process_max_fds",
	"process_open_fds",
	"process_resident_memory_bytes",
	"process_start_time_seconds",
}

// foreignFlags are the flags in deploy/ that belong to other programs.
var foreignFlags = map[string]string{
	"build": "docker compose", "no-deps": "docker compose", "wait": "docker compose",
	"chown": "COPY", "from": "COPY",
	"interval": "HEALTHCHECK", "start-period": "HEALTHCHECK",
	"global": "git", "add": "git",
	"now":            "systemctl",
	"environ":        "caddy",
	"mode":           "envoy",
	"data-checksums": "initdb",
	"data-binary":    "curl", "retry": "curl",
	"config": "prometheus", "storage": "prometheus",
}

// deployed has every command that deploy/ may name.
type deployed struct {
	Serve    app.ServeCommand   `cmd:""`
	Migrate  app.MigrateCommand `cmd:""`
	Accounts cli.Accounts       `cmd:""`
	Operator cli.Operator       `cmd:""`
	Doctor   cli.Doctor         `cmd:""`
}

func deployedProgram(t *testing.T) *kong.Kong {
	t.Helper()
	program, err := kong.New(&deployed{}, kong.Name("tenantry"), kong.Configuration(config.File))
	if err != nil {
		t.Fatal(err)
	}
	return program
}

const deployFolder = "../../deploy"

// deployFiles are all files of deploy/ by their path in it.
func deployFiles(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	if err := fs.WalkDir(os.DirFS(deployFolder), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Base(name) == ".env" {
			return err
		}
		text, err := os.ReadFile(filepath.Join(deployFolder, name))
		files[name] = string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("deploy has %d files only", len(files))
	}
	return files
}

// inDeploy decodes one YAML file of deploy/.
func inDeploy[T any](t *testing.T, name string) (into T) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deployFolder, name))
	if err == nil {
		err = yaml.Unmarshal(text, &into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return into
}

func TestDeployIsYAML(t *testing.T) {
	t.Parallel()
	found := 0
	for name, text := range deployFiles(t) {
		if extension := path.Ext(name); extension != ".yaml" && extension != ".yml" {
			continue
		}
		found++
		decoder := yaml.NewDecoder(strings.NewReader(text))
		for {
			var document any
			if err := decoder.Decode(&document); err == io.EOF {
				break
			} else if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
		}
	}
	if found < 4 {
		t.Errorf("%d YAML files only", found)
	}
}

// TestDeployNames: every setting, flag and command in deploy/ is the program's.
func TestDeployNames(t *testing.T) {
	t.Parallel()
	flags, variables, settings := map[string]bool{}, map[string]bool{}, map[string]bool{}
	if err := kong.Visit(deployedProgram(t).Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			flags[flag.Name] = true
			for _, name := range flag.Envs {
				variables[name] = true
			}
		}
		return next(nil)
	}); err != nil {
		t.Fatal(err)
	}
	for _, flag := range deployedProgram(t).Model.Children[0].Flags { // of serve
		settings[strings.ReplaceAll(flag.Name, "-", "_")] = true
	}
	if !variables["TENANTRY_LISTEN"] || !flags["if-not-exists"] || !settings["master_key"] {
		t.Fatal("the program's flags were not found")
	}
	foreign := maps.Clone(foreignFlags)
	for name, text := range deployFiles(t) {
		for _, variable := range regexp.MustCompile(`\bTENANTRY_[A-Z_]*[A-Z]`).FindAllString(text, -1) {
			if !variables[variable] {
				t.Errorf("%s: there is no variable %s", name, variable)
			}
		}
		for _, match := range regexp.MustCompile("(?m)(?:^|[\\s\"'`(])--([a-z][a-z-]*)").FindAllStringSubmatch(text, -1) {
			if foreignFlags[match[1]] != "" {
				delete(foreign, match[1])
			} else if !flags[match[1]] {
				t.Errorf("%s: there is no flag --%s", name, match[1])
			}
		}
	}
	if len(foreign) > 0 {
		t.Errorf("deploy has no %v any more", slices.Sorted(maps.Keys(foreign)))
	}
	secrets := regexp.MustCompile(`(?m)^#?([a-z_]+): `).FindAllStringSubmatch(deployFiles(t)["systemd/secrets.yaml"], -1)
	if len(secrets) != 3 {
		t.Errorf("systemd/secrets.yaml has %d settings", len(secrets))
	}
	for _, match := range secrets {
		if !settings[match[1]] {
			t.Errorf("systemd/secrets.yaml: there is no setting %s", match[1])
		}
	}
}

// TestDeployCommands parses the commands that systemd and Docker run.
func TestDeployCommands(t *testing.T) {
	t.Parallel()
	files := deployFiles(t)
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "secrets.yaml"), []byte(files["systemd/secrets.yaml"]), 0o600); err != nil {
		t.Fatal(err)
	}
	var check []string
	container := files["container/Containerfile"]
	health := regexp.MustCompile(`(?s)HEALTHCHECK.*?CMD (\[.*?\])\n`).FindStringSubmatch(container)
	if health == nil {
		t.Fatal("the image has no health check")
	}
	if err := json.Unmarshal([]byte(health[1]), &check); err != nil {
		t.Fatal(err)
	}
	start := strings.Fields(os.Expand(unitSettings(t)["ExecStart"][0], func(string) string { return folder }))
	for _, command := range [][]string{check, start} {
		if path.Base(command[0]) != "tenantry" {
			t.Errorf("%q is not this program", command[0])
		}
		if _, err := deployedProgram(t).Parse(command[1:]); err != nil {
			t.Errorf("%q: %v", command, err)
		}
	}
	if !strings.Contains(container, `ENTRYPOINT ["`+check[0]+`"]`) {
		t.Errorf("the health check asks another program than the one that runs")
	}
}

// TestDeployServices: the sample of services is one that starts.
func TestDeployServices(t *testing.T) {
	t.Parallel()
	var asked []string
	services, err := httpapi.ReadServices([]byte(deployFiles(t)["gateway/services.yaml"]), func(name string) (string, bool) {
		asked = append(asked, name)
		return "secret", true
	})
	if err != nil || len(services) < 3 || len(asked) == 0 {
		t.Errorf("%d services, variables %v, %v", len(services), asked, err)
	}
}

type alertRules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

type scrapes struct {
	ScrapeConfigs []struct {
		JobName       string                       `yaml:"job_name"`
		StaticConfigs []struct{ Targets []string } `yaml:"static_configs"`
	} `yaml:"scrape_configs"`
}

// TestDeployAlerts: alerts ask for what there is, and say what to do.
func TestDeployAlerts(t *testing.T) {
	t.Parallel()
	var operations, jobs []string
	for _, route := range httpapi.Routes {
		operations = append(operations, route.ID)
	}
	for _, scrape := range inDeploy[scrapes](t, "prometheus/prometheus.yaml").ScrapeConfigs {
		jobs = append(jobs, scrape.JobName)
	}
	words := func(text, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		return found
	}
	tests := deployFiles(t)["prometheus/alerts_test.yaml"]
	count := 0
	for _, group := range inDeploy[alertRules](t, "prometheus/alerts.yaml").Groups {
		for _, rule := range group.Rules {
			count++
			text := rule.Expr + rule.Annotations["summary"] + rule.Annotations["description"]
			for _, metric := range words(text, `\b((?:tenantry|go|process)_[a-z_]+)`) {
				if base := regexp.MustCompile(`_(bucket|count|sum)$`).ReplaceAllString(metric, ""); !slices.Contains(exportedMetrics, metric) && !slices.Contains(exportedMetrics, base) {
					t.Errorf("%s: there is no metric %s", rule.Alert, metric)
				}
			}
			for _, job := range words(rule.Expr, `job="(.*?)"`) {
				if !slices.Contains(jobs, job) {
					t.Errorf("%s: there is no job %s", rule.Alert, job)
				}
			}
			for _, names := range words(rule.Expr, `operation!?[=~]+"(.*?)"`) {
				for _, operation := range strings.Split(names, "|") {
					if !slices.Contains(operations, operation) {
						t.Errorf("%s: there is no operation %s", rule.Alert, operation)
					}
				}
			}
			if severity := rule.Labels["severity"]; severity != "critical" && severity != "warning" {
				t.Errorf("%s has severity %q", rule.Alert, severity)
			}
			if rule.Annotations["summary"] == "" || len(rule.Annotations["description"]) < 80 {
				t.Errorf("%s does not say what to do", rule.Alert)
			}
			if !regexp.MustCompile(`\b` + rule.Alert + `\b`).MatchString(tests) {
				t.Errorf("alerts_test.yaml does not test %s", rule.Alert)
			}
		}
	}
	if count < 10 {
		t.Errorf("%d alerts only", count)
	}
}

type composition struct {
	Services map[string]struct {
		Image       string
		Build       struct{ Context, Dockerfile string }
		Environment map[string]string
		Ports       []string
		Volumes     []string
		ReadOnly    bool          `yaml:"read_only"`
		CapDrop     []string      `yaml:"cap_drop"`
		SecurityOpt []string      `yaml:"security_opt"`
		StopGrace   time.Duration `yaml:"stop_grace_period"`
		Networks    yaml.Node
	}
	Networks map[string]struct {
		Ipam struct {
			Config []struct{ Subnet netip.Prefix }
		}
	}
}

// TestDeployAgrees: compose file, image, proxy and Prometheus mean the same nodes,
// ports and addresses.
func TestDeployAgrees(t *testing.T) {
	t.Parallel()
	files := deployFiles(t)
	compose := inDeploy[composition](t, "compose/compose.yaml")
	defaults, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	port := func(address string) string {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Error(err)
		}
		return port
	}
	same := func(what string, want, got any) {
		t.Helper()
		if !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %v and %v", what, want, got)
		}
	}

	var nodes, apis, metrics []string
	for _, name := range slices.Sorted(maps.Keys(compose.Services)) {
		service := compose.Services[name]
		for _, published := range service.Ports {
			if !strings.HasPrefix(published, "127.0.0.1:") {
				t.Errorf("%s is published to everybody: %s", name, published)
			}
		}
		for _, volume := range service.Volumes {
			if source, _, _ := strings.Cut(volume, ":"); strings.HasPrefix(source, ".") {
				if _, err := os.Stat(filepath.Join(deployFolder, "compose", source)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if !slices.Contains(service.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s may get new privileges", name)
		}
		if service.Build.Dockerfile == "" {
			continue
		}
		environment := service.Environment
		nodes = append(nodes, name)
		apis = append(apis, name+":"+port(environment["TENANTRY_LISTEN"]))
		metrics = append(metrics, name+":"+port(environment["TENANTRY_METRICS_LISTEN"]))
		same("environment of "+name, compose.Services[nodes[0]].Environment, environment)
		if !service.ReadOnly || !slices.Contains(service.CapDrop, "ALL") {
			t.Errorf("%s may write or has capabilities", name)
		}
		if drain, err := time.ParseDuration(environment["TENANTRY_DRAIN_TIME"]); err != nil || service.StopGrace <= drain {
			t.Errorf("%s gets %s to stop in %s, %v", name, service.StopGrace, drain, err)
		}
		if _, err := os.Stat(filepath.Join(deployFolder, "compose", service.Build.Context, service.Build.Dockerfile)); err != nil {
			t.Error(err)
		}
	}
	if len(nodes) != 2 {
		t.Fatalf("there are the nodes %v", nodes)
	}
	environment := compose.Services[nodes[0]].Environment

	// What .env has to have.
	lines := func(text, pattern string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	same(".env.sample and compose.yaml", lines(files["compose/.env.sample"], `(?m)^([A-Z_]+)=$`), lines(files["compose/compose.yaml"], `\$\{([A-Z_]+)`))
	same(".gitignore", ".env\n", files["compose/.gitignore"])

	// The image.
	container := files["container/Containerfile"]
	same("the API's port by default and in compose.yaml", port(defaults.Listen), port(environment["TENANTRY_LISTEN"]))
	same("ENV of the image", lines(container, `TENANTRY_LISTEN=(\S+)`), []string{environment["TENANTRY_LISTEN"]})
	same("EXPOSE", lines(container, `(?m)^EXPOSE (.*)$`), []string{port(environment["TENANTRY_LISTEN"]) + " " + port(environment["TENANTRY_METRICS_LISTEN"])})
	same("the metrics' port in tenantry.env", lines(files["systemd/tenantry.env"], `TENANTRY_METRICS_LISTEN=\S+:(\d+)`), []string{port(environment["TENANTRY_METRICS_LISTEN"])})

	// The proxy.
	binds := map[string]string{}
	for _, section := range regexp.MustCompile(`(?m)^(?:frontend|backend|resolvers) `).Split(files["proxy/haproxy.cfg"], -1)[1:] {
		name, _, _ := strings.Cut(section, "\n")
		if bind := lines(section, `(?m)^    bind :(\d+)$`); len(bind) > 0 {
			binds[name] = bind[0]
		} else if name != "docker" {
			same("servers of backend "+name, apis, lines(section, `(?m)^    server \S+ (\S+)$`))
		}
	}
	var published []string
	for _, p := range compose.Services["proxy"].Ports {
		published = append(published, p[strings.LastIndex(p, ":")+1:])
	}
	same("the proxy's ports", []string{binds["api"], binds["operator"]}, published)
	var fixed map[string]struct {
		Address netip.Addr `yaml:"ipv4_address"`
	}
	proxy := compose.Services["proxy"].Networks
	if err := proxy.Decode(&fixed); err != nil {
		t.Fatal(err)
	}
	same("the proxy's address", environment["TENANTRY_TRUSTED_PROXY"], fixed["front"].Address.String()+"/32")
	if subnet := compose.Networks["front"].Ipam.Config[0].Subnet; !subnet.Contains(fixed["front"].Address) {
		t.Errorf("%s is not in %s", fixed["front"].Address, subnet)
	}

	// Prometheus.
	targets := map[string][]string{}
	for _, scrape := range inDeploy[scrapes](t, "prometheus/prometheus.yaml").ScrapeConfigs {
		targets[scrape.JobName] = scrape.StaticConfigs[0].Targets
	}
	same("targets", targets, map[string][]string{"tenantry": metrics, "proxy": {"proxy:" + binds["metrics"]}})
}

// TestDeployProxy: the public reaches the API and nothing else, and what the proxy
// says itself looks like the server's errors.
func TestDeployProxy(t *testing.T) {
	t.Parallel()
	text := deployFiles(t)["proxy/haproxy.cfg"]
	var prefixes, paths []string
	for _, match := range regexp.MustCompile(`(?m)^    acl (?:public|health) (path|path_beg) (.*)$`).FindAllStringSubmatch(text, -1) {
		if match[1] == "path" {
			paths = append(paths, strings.Fields(match[2])...)
		} else {
			prefixes = append(prefixes, strings.Fields(match[2])...)
		}
	}
	for _, route := range httpapi.Routes {
		_, pattern, _ := strings.Cut(route.Pattern, " ")
		public := slices.Contains(paths, pattern) || slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(pattern, prefix) })
		// Switches are not strangers: they ask a node, or a port of their own.
		if public != (route.Scope != "operator" && route.Scope != "admission") {
			t.Errorf("%s is public: %t", route.ID, public)
		}
		if route.Scope == "operator" && !strings.HasPrefix(pattern, "/operator/v1/") {
			t.Errorf("%s is not at the operator's port", route.ID)
		}
	}
	answers := regexp.MustCompile(`status (\d+) content-type application/json string '(.*?)'`).FindAllStringSubmatch(text, -1)
	if len(answers) < 5 {
		t.Errorf("the proxy has %d answers", len(answers))
	}
	codes := map[string]string{"404": api.CodeNotFound, "502": api.CodeUnexpected, "503": api.CodeUnexpected, "504": api.CodeTimeout}
	for _, match := range answers {
		var answer api.Errors
		if err := json.Unmarshal([]byte(match[2]), &answer); err != nil {
			t.Errorf("%s: %v", match[2], err)
		} else if code := codes[match[1]]; code != "" && (len(answer.Errors) != 1 || answer.Errors[0].Code != code || answer.Errors[0].Title == "" || answer.Errors[0].Detail == "") {
			t.Errorf("a %s is answered with %s", match[1], match[2])
		}
	}
	// A repeated POST is made once only where the repetition can be told from a second one.
	for _, line := range []string{"retry-on conn-failure empty-response", "http-request disable-l7-retry unless METH_GET"} {
		if !strings.Contains(text, "\n    "+line+"\n") {
			t.Errorf("there is no line %q", line)
		}
	}
}

// unitSettings are the lines of the systemd unit by name.
func unitSettings(t *testing.T) map[string][]string {
	t.Helper()
	settings := map[string][]string{}
	for line := range strings.Lines(deployFiles(t)["systemd/tenantry.service"]) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

func TestDeployUnit(t *testing.T) {
	t.Parallel()
	settings := unitSettings(t)
	for name, want := range map[string]string{
		"AmbientCapabilities": "", "CapabilityBoundingSet": "", "DynamicUser": "yes", "KeyringMode": "private", "LockPersonality": "yes",
		"MemoryDenyWriteExecute": "yes", "NoNewPrivileges": "yes", "PrivateDevices": "yes", "PrivateIPC": "yes", "PrivateMounts": "yes",
		"PrivateTmp": "yes", "PrivateUsers": "yes", "ProtectClock": "yes", "ProtectControlGroups": "yes", "ProtectHome": "yes",
		"ProtectHostname": "yes", "ProtectKernelLogs": "yes", "ProtectKernelModules": "yes", "ProtectKernelTunables": "yes",
		"ProtectProc": "invisible", "ProtectSystem": "strict", "RemoveIPC": "yes", "Restart": "on-failure",
		"RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX", "RestrictNamespaces": "yes", "RestrictRealtime": "yes", "RestrictSUIDSGID": "yes",
		"StateDirectory": "tenantry", "StateDirectoryMode": "0700", "SystemCallArchitectures": "native",
		"SystemCallFilter": "@system-service ~@privileged @resources", "UMask": "0077",
	} {
		if got, ok := settings[name]; !ok || strings.Join(got, " ") != want {
			t.Errorf("%s is %q, not %q", name, got, want)
		}
	}
	defaults, err := app.Defaults()
	if err != nil {
		t.Fatal(err)
	}
	if stop, err := time.ParseDuration(settings["TimeoutStopSec"][0]); err != nil || stop <= defaults.DrainTime {
		t.Errorf("the unit gives %s to stop, %v; the server takes up to %s", stop, err, defaults.DrainTime)
	}
}

// TestExportedMetrics: whatever the alerts may ask for is there from the start.
func TestExportedMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, nil, func(c *config.Config) { c.MetricsListen = "127.0.0.1:0" })
	response, err := http.Get(s.app.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, metric := range exportedMetrics {
		if !strings.Contains(string(text), "# TYPE "+metric+" ") {
			t.Errorf("there is no %s", metric)
		}
	}
}
