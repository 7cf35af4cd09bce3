package app_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/store"
)

// casesFolder holds one file per wire fact; its README.md explains them.
const casesFolder = "../../api/cases"

func TestCases(t *testing.T) {
	t.Parallel()
	shared := archive(t, filepath.Join(casesFolder, "clients.txtar")).files
	for _, path := range casePaths(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			t.Parallel()
			c := readCase(t, path)
			eachEngine(t, func(t *testing.T, e engine) { runCase(t, e.start(t, c.seed, c.set), c, shared) })
		})
	}
}

func casePaths(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(casesFolder, "*.txtar"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("no cases: %v", err)
	}
	return slices.DeleteFunc(paths, func(path string) bool { return filepath.Base(path) == "clients.txtar" })
}

// textFiles is a txtar archive.
type textFiles struct {
	comment string
	files   map[string]string
}

var fileMarker = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

func archive(t *testing.T, path string) textFiles {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := textFiles{files: map[string]string{}}
	ends := append(fileMarker.FindAllStringSubmatchIndex(string(text), -1), []int{len(text)})
	a.comment = string(text[:ends[0][0]])
	for i, m := range ends[:len(ends)-1] {
		name := string(text[m[2]:m[3]])
		if _, twice := a.files[name]; twice {
			t.Fatalf("%s: %s stands there twice", path, name)
		}
		a.files[name] = string(text[m[1]:ends[i+1][0]])
	}
	return a
}

// wireCase is one case file.
type wireCase struct {
	kinds []string // the tenant.Kinds that it shows
	seed  []byte   // nil is the usual one
	set   func(*config.Config)
	steps []step
}

// step is one exchange of a case.
type step struct {
	clock time.Duration // to pass before
	stop  bool          // the database, before
	// delivered is to wait for the webhook before.
	delivered bool
	refused   bool   // the request is not in the contract
	request   string // with placeholders
	status    int
	subset    bool
	headers   [][2]string
	body      string // with placeholders; "" is not looked at
}

func readCase(t *testing.T, path string) wireCase {
	t.Helper()
	a := archive(t, path)
	var c wireCase
	for line := range strings.Lines(a.comment) {
		if kind, ok := strings.CutPrefix(line, "kind: "); ok {
			c.kinds = append(c.kinds, strings.Fields(kind)...)
		}
	}
	if strings.TrimSpace(a.comment) == "" {
		t.Fatal("a case says in its first lines what fact it is about")
	}
	if seed, ok := a.files["seed.yaml"]; ok {
		c.seed = []byte(seed)
	}
	var settings struct {
		RateLimit   *float64       `yaml:"rate_limit"`
		RateBurst   *int           `yaml:"rate_burst"`
		KeepAnswers *time.Duration `yaml:"keep_answers"`
		Webhook     int            `yaml:"webhook"`
	}
	if err := yaml.Unmarshal([]byte(a.files["config.yaml"]), &settings); err != nil {
		t.Fatal(err)
	}
	services := a.files["services.yaml"]
	c.set = func(c *config.Config) {
		if services != "" {
			c.Services = serviceFile(t, services)
		}
		if settings.Webhook != 0 {
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(settings.Webhook) }))
			t.Cleanup(receiver.Close)
			c.WebhookURL = receiver.URL + "/secret"
		}
		set(&c.RateLimit, settings.RateLimit)
		set(&c.RateBurst, settings.RateBurst)
		set(&c.KeepAnswers, settings.KeepAnswers)
	}
	delete(a.files, "seed.yaml")
	delete(a.files, "config.yaml")
	delete(a.files, "services.yaml")
	for n := 1; len(a.files) > 0; n++ {
		request, ok := a.files[fmt.Sprintf("%d.request", n)]
		reply, too := a.files[fmt.Sprintf("%d.reply", n)]
		if !ok || !too {
			t.Fatalf("step %d is missing, or half of it: %v", n, slices.Sorted(maps.Keys(a.files)))
		}
		c.steps = append(c.steps, readStep(t, n, request, reply))
		delete(a.files, fmt.Sprintf("%d.request", n))
		delete(a.files, fmt.Sprintf("%d.reply", n))
	}
	return c
}

// serviceFile writes a file of services, with the addresses of two that do not work.
func serviceFile(t *testing.T, text string) string {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody answers what the system takes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	// No server of another test ever gets port 1, as it does one that was free just now.
	text = strings.NewReplacer("{{silent}}", silent.Addr().String(), "{{closed}}", "127.0.0.1:1").Replace(text)
	path := filepath.Join(t.TempDir(), "services.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func set[T any](setting *T, value *T) {
	if value != nil {
		*setting = *value
	}
}

func readStep(t *testing.T, n int, request, reply string) (s step) {
	t.Helper()
	var words []string
	words, s.request = directives(request)
	for _, word := range words {
		name, value, _ := strings.Cut(word, " ")
		var err error
		switch name {
		case "clock":
			s.clock, err = time.ParseDuration(value)
		case "delivered":
			s.delivered = true
		case "stop":
			s.stop = true
		case "invalid":
			s.refused = true
		default:
			err = fmt.Errorf("no such word")
		}
		if err != nil {
			t.Fatalf("%d.request: # %s: %v", n, word, err)
		}
	}
	words, reply = directives(reply)
	for _, word := range words {
		if s.subset = word == "subset"; !s.subset {
			t.Fatalf("%d.reply: # %s: no such word", n, word)
		}
	}
	head, body, _ := strings.Cut(reply, "\n\n")
	s.body = strings.TrimSuffix(body, "\n")
	for i, line := range strings.Split(strings.TrimSpace(head), "\n") {
		if i == 0 {
			var err error
			if s.status, err = strconv.Atoi(line); err != nil {
				t.Fatalf("%d.reply begins with %q, not with a status", n, line)
			}
			continue
		}
		name, value, _ := strings.Cut(line, ": ")
		s.headers = append(s.headers, [2]string{name, value})
	}
	s.refused = s.refused || s.status >= 400
	return s
}

// directives are the lines at the top that begin with "# ".
func directives(text string) (words []string, rest string) {
	for {
		word, ok := strings.CutPrefix(text, "# ")
		if !ok {
			return words, text
		}
		word, text, _ = strings.Cut(word, "\n")
		words = append(words, word)
	}
}

func runCase(t *testing.T, s *server, c wireCase, clients map[string]string) {
	connection := s.connect(t)
	var replies []reply
	for i, step := range c.steps {
		s.clock.Add(step.clock.Microseconds())
		if step.stop {
			s.app.Close()
		}
		if step.delivered {
			s.waitForEvents(t)
		}
		fill := func(text string) string {
			return placeholder.ReplaceAllStringFunc(text, func(text string) string {
				value, err := s.value(text[2:len(text)-2], replies)
				if err != nil {
					t.Fatalf("step %d: %s: %v", i+1, text, err)
				}
				return value
			})
		}
		r := connection.send(t, rawRequest(t, step.request, clients, fill), step.refused)
		replies = append(replies, r)
		if r.StatusCode != step.status {
			t.Errorf("step %d: status is %d, want %d\n%s", i+1, r.StatusCode, step.status, r.body)
			continue
		}
		for _, header := range step.headers {
			name, want := header[0], fill(header[1])
			if got := strings.Join(r.Header.Values(name), " | "); want == "<absent>" && got != "" || want != "<absent>" && !matches(want, got) {
				t.Errorf("step %d: %s is %q, want %q", i+1, name, got, want)
			}
		}
		if step.body == "" {
			continue
		}
		if differences := compareBody(t, fill(step.body), r, step.subset); differences != nil {
			t.Errorf("step %d: %s\n%s", i+1, strings.Join(differences, "\n"), r.body)
		}
	}
}

// waitForEvents waits until the webhook has accepted all there is.
func (s *server) waitForEvents(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		var oldest time.Time
		if err := s.app.DB.View(t.Context(), func(tx *store.Tx) error {
			since, err := tx.WebhookSince()
			if err == nil {
				oldest, err = tx.WebhookOldest(since)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if oldest.IsZero() {
			return
		}
	}
	t.Fatal("events wait still")
}

var placeholder = regexp.MustCompile(`\{\{[^{}]+\}\}`)

// value is what stands for a placeholder.
func (s *server) value(name string, replies []reply) (string, error) {
	of := func(values map[string]string, key string) (string, error) {
		if values[key] == "" {
			return "", fmt.Errorf("the seed has none")
		}
		return values[key], nil
	}
	word, rest, _ := strings.Cut(name, " ")
	switch {
	case strings.HasPrefix(name, `"`):
		return strconv.Unquote(name)
	case word == "id":
		return of(s.ids, rest)
	case word == "key":
		return of(s.keys, rest)
	case word == "token":
		return of(s.tokens, rest)
	case name == "operator":
		return s.app.OperatorToken, nil
	case word == "repeat":
		count, text, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		return strings.Repeat(text, n), err
	}
	number, path, _ := strings.Cut(name, ".")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(replies) {
		return "", fmt.Errorf("no such value")
	}
	if header, ok := strings.CutPrefix(path, "header."); ok {
		return replies[n-1].Header.Get(header), nil
	}
	var value any
	if err := json.Unmarshal(replies[n-1].body, &value); err != nil {
		return "", err
	}
	for key := range strings.SplitSeq(path, ".") {
		switch parent := value.(type) {
		case map[string]any:
			value = parent[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(parent) {
				return "", fmt.Errorf("reply %d has no %s", n, path)
			}
			value = parent[i]
		}
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("reply %d has no text at %s", n, path)
	}
	return text, nil
}

// rawRequest turns the text of a case into what goes over the wire: the headers
// of the client that an @ line names, line ends, Host, the version and, with a
// body, the length. Everything else is as it stands.
func rawRequest(t *testing.T, text string, clients map[string]string, fill func(string) string) string {
	t.Helper()
	head, body, _ := strings.Cut(text, "\n\n")
	body = fill(strings.TrimSuffix(body, "\n"))
	var lines []string
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\n"), "\n") {
		client, ok := strings.CutPrefix(line, "@")
		if !ok {
			lines = append(lines, line)
			continue
		}
		name, email, _ := strings.Cut(client, " ")
		if clients[name] == "" {
			t.Fatalf("clients.txtar has no %s", name)
		}
		headers := strings.ReplaceAll(strings.TrimSpace(clients[name]), "{{key}}", "{{key "+email+"}}")
		lines = append(lines, strings.Split(headers, "\n")...)
	}
	if !strings.Contains(lines[0], " HTTP/") {
		lines[0] += " HTTP/1.1"
	}
	has := func(prefix string) bool {
		return slices.ContainsFunc(lines, func(line string) bool {
			return len(line) > len(prefix) && strings.EqualFold(line[:len(prefix)], prefix)
		})
	}
	if !has("Host:") {
		lines = slices.Insert(lines, 1, "Host: localhost")
	}
	if body != "" && !has("Content-Length:") && !has("Transfer-Encoding:") {
		lines = append(lines, fmt.Sprintf("Content-Length: %d", len(body)))
	}
	return fill(strings.Join(lines, "\r\n")) + "\r\n\r\n" + body
}

// patterns stand for any text of a kind, within a string of the wanted reply.
var patterns = map[string]string{
	"<uuid>":   `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`,
	"<time>":   `\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`,
	"<key>":    `KEY[0-9A-F]{32}_[A-Za-z0-9_-]{22}`,
	"<token>":  `[A-Za-z0-9_-]{22}`,
	"<number>": `\d+`,
	"<string>": `(?s).+`,
}

var pattern = regexp.MustCompile(`<[a-z]+>`)

func matches(want, got string) bool {
	var expression strings.Builder
	end := 0
	for _, at := range pattern.FindAllStringIndex(want, -1) {
		if known, ok := patterns[want[at[0]:at[1]]]; ok {
			expression.WriteString(regexp.QuoteMeta(want[end:at[0]]) + known)
			end = at[1]
		}
	}
	return regexp.MustCompile(`\A(?:` + expression.String() + regexp.QuoteMeta(want[end:]) + `)\z`).MatchString(got)
}

func compareBody(t *testing.T, want string, r reply, subset bool) []string {
	t.Helper()
	if r.Header.Get("Content-Type") != "application/json" {
		if !matches(want, string(r.body)) {
			return []string{fmt.Sprintf("body is\n%q, want\n%q", r.body, want)}
		}
		return nil
	}
	var wanted, got any
	if err := json.Unmarshal([]byte(want), &wanted); err != nil {
		t.Fatalf("the wanted body is not JSON: %v\n%s", err, want)
	}
	if err := json.Unmarshal(r.body, &got); err != nil {
		return []string{err.Error()}
	}
	return compare("", wanted, got, subset)
}

// compare tells where got is not what is wanted.
func compare(at string, want, got any, subset bool) (differences []string) {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok {
			break
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			value, ok := object[name]
			if !ok {
				differences = append(differences, at+"/"+name+" is missing")
				continue
			}
			differences = append(differences, compare(at+"/"+name, want[name], value, subset)...)
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if _, ok := want[name]; !ok && !subset {
				differences = append(differences, at+"/"+name+" is too much")
			}
		}
		return differences
	case []any:
		list, ok := got.([]any)
		if !ok || len(list) != len(want) {
			break
		}
		for i := range want {
			differences = append(differences, compare(fmt.Sprintf("%s/%d", at, i), want[i], list[i], subset)...)
		}
		return differences
	case string:
		if text, ok := got.(string); ok && want != "<number>" && matches(want, text) {
			return nil
		}
		if _, ok := got.(float64); ok && want == "<number>" {
			return nil
		}
	default:
		if want == got {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s is %v, want %v", at, show(got), show(want))}
}

func show(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// pager is how an SDK goes through a list: its first query for two records a
// page, and what becomes of the query for a later page. All end on an empty page
// or when the page served is the last (wire.md 6.1).
type pager struct {
	name, first string
	next        func(query string, page int) string
	from        int // the page it starts at
}

// pagers are the SDKs of wire.md 6.1 and 7.
func pagers() []pager {
	sorted := func(query string) string {
		parts := strings.Split(query, "&")
		slices.Sort(parts)
		return strings.Join(parts, "&")
	}
	// with sets a parameter where it stands, or at the end.
	with := func(name string) func(string, int) string {
		return func(query string, page int) string {
			value := fmt.Sprintf("%s=%d", name, page)
			parts := strings.Split(query, "&")
			if at := slices.IndexFunc(parts, func(part string) bool { return strings.HasPrefix(part, name+"=") }); at >= 0 {
				parts[at] = value
				return strings.Join(parts, "&")
			}
			return query + "&" + value
		}
	}
	inOrder := func(set func(string, int) string) func(string, int) string {
		return func(query string, page int) string { return sorted(set(query, page)) }
	}
	const size, number = "page%5Bsize%5D=2", "page%5Bnumber%5D"
	return []pager{
		{"Ruby 5.163", size, with("page_number"), 1},
		{"Ruby 5.163 from page 2", number + "=2&" + size, with("page_number"), 2},
		{"Ruby 5.6", "page=%7B%3Asize%3D%3E2%7D", with("number"), 1},
		{"Ruby 5.6 from page 2", "page=%7B%3Anumber%3D%3E2%2C+%3Asize%3D%3E2%7D", with("number"), 2},
		{"Ruby 3", number + "=1&" + size, with(number), 1},
		{"Go 4.97", size, inOrder(with(number)), 1},
		{"Go 4.97 from page 2", number + "=2&" + size, inOrder(with(number)), 2},
		{"Go 4.14", size, inOrder(with("number")), 1},
		{"Go 4.14 from page 2", number + "=2&" + size, inOrder(with("number")), 2},
		{"Node 7.24", size, with(number), 1},
		{"Node 7.24 from page 2", size + "&" + number + "=2", with(number), 2},
		{"Node 7.24 with names in snake case", "page_size=2", with(number), 1},
		{"Node 7.24 with names in snake case from page 2", "page_number=2&page_size=2", with(number), 2},
		{"Node 5.15", size, with("number"), 1},
		{"Python 4.176", size, with(number), 1},
		{"Python 4.176 from page 2", number + "=2&" + size, with(number), 2},
		{"Python 4.15", size, with("number"), 1},
	}
}

// TestPagers lets every SDK's pager go through lists of no record, one, exactly
// one page and many: each record comes once, in order, and the loop ends.
func TestPagers(t *testing.T) {
	t.Parallel()
	var seed strings.Builder
	seed.WriteString("accounts:\n")
	lengths := []int{0, 1, 2, 5}
	for _, n := range lengths {
		fmt.Fprintf(&seed, "  - business_name: Manager\n    email: manager%d@example.com\n    manager: {channel_pool: 0}\n    managed_accounts:\n", n)
		for i := range n {
			fmt.Fprintf(&seed, "      - {business_name: Account, email: a%d@example.com}\n", i)
		}
		seed.WriteString("    users:\n")
		for i := range n {
			fmt.Fprintf(&seed, "      - {id: 00000000-0000-7000-8000-0000%04d%04d, email: u%d@example.org}\n", n, i, i)
		}
	}
	eachEngine(t, func(t *testing.T, e engine) { testPagers(t, e.start(t, []byte(seed.String())), lengths) })
}

func testPagers(t *testing.T, s *server, lengths []int) {
	c := s.connect(t)
	for _, list := range []string{"/v2/managed_accounts?sort=created_at&", "/v2/managed_accounts?", "/v2/organizations/users?filter%5Bemail%5D=example.org&", "/v2/audit_events?sort=asc&"} {
		for _, n := range lengths {
			key := s.keys[fmt.Sprintf("manager%d@example.com", n)]
			whole := page(t, c, list+"page_size=250", key)
			if strings.Contains(list, "audit") == (len(whole.ids) == n) {
				t.Fatalf("%s: %d records, want %d", list, len(whole.ids), n)
			}
			for _, p := range pagers() {
				got := []string{}
				query, requests := p.first, 1
				for ; ; requests++ {
					this := page(t, c, list+query, key)
					got = append(got, this.ids...)
					if len(this.ids) == 0 || this.Number >= this.Pages || requests > 2*slices.Max(lengths) {
						break
					}
					query = p.next(query, this.Number+1)
				}
				want := whole.ids[min(len(whole.ids), (p.from-1)*2):]
				if !slices.Equal(got, want) {
					t.Errorf("%s on %s of %d gets %v, want %v", p.name, list, n, got, want)
				}
				if most := max(1, (len(want)+1)/2); requests > most {
					t.Errorf("%s on %s of %d asks %d times, want %d", p.name, list, n, requests, most)
				}
			}
		}
	}
}

// listPage is what a pager looks at.
type listPage struct {
	ids           []string
	Number, Pages int
}

func page(t *testing.T, c *connection, target, key string) (p listPage) {
	t.Helper()
	r := c.send(t, request("GET", target, key, ""), false)
	var list struct {
		Data []struct{ ID string }
		Meta struct {
			Number int `json:"page_number"`
			Pages  int `json:"total_pages"`
		}
	}
	if err := json.Unmarshal(r.body, &list); err != nil || r.StatusCode != 200 {
		t.Fatalf("%s: %d %s", target, r.StatusCode, r.body)
	}
	for _, record := range list.Data {
		p.ids = append(p.ids, record.ID)
	}
	p.Number, p.Pages = list.Meta.Number, list.Meta.Pages
	return p
}

// TestDroppedCreate: the connection breaks while a create is on its way, and the
// SDK sends it again. Whatever the server had seen, there is one account.
func TestDroppedCreate(t *testing.T) {
	t.Parallel()
	eachEngine(t, testDroppedCreate)
}

func testDroppedCreate(t *testing.T, e engine) {
	s := e.start(t, []byte("accounts: [{business_name: Manager, email: manager@example.com, manager: {channel_pool: 0}}]"))
	key := s.keys["manager@example.com"]
	first := request("POST", "/v2/managed_accounts", key, `{"business_name":"Dropped"}`)
	again := strings.Replace(first, "Host:", "X-Stainless-Retry-Count: 1\r\nHost:", 1)
	made := 0
	for _, sent := range []int{1, strings.Index(first, "\r\n\r\n") + 4, len(first) - 1, len(first)} {
		tcp, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tcp.Write([]byte(first[:sent])); err != nil {
			t.Fatal(err)
		}
		if sent == len(first) {
			// The answer is there, and nobody reads it.
			tcp.SetReadDeadline(time.Now().Add(20 * time.Second))
			tcp.Read(make([]byte, 1))
		}
		tcp.Close()
		c := s.connect(t)
		if r := c.send(t, again, false); r.StatusCode != 200 {
			t.Errorf("the retry is answered %d %s", r.StatusCode, r.body)
		}
		made++
		if got := len(page(t, c, "/v2/managed_accounts?page_size=250", key).ids); got != made {
			t.Errorf("after a break at byte %d of %d there are %d accounts, want %d", sent, len(first), got, made)
		}
	}
}

// TestWrongKeys: an address that keeps trying keys is told to wait, and a right
// key goes on working from there.
func TestWrongKeys(t *testing.T) {
	t.Parallel()
	eachEngine(t, testWrongKeys)
}

func testWrongKeys(t *testing.T, e engine) {
	s := e.start(t, []byte("accounts: [{business_name: Manager, email: manager@example.com}]"))
	c := s.connect(t)
	seen := map[int]int{}
	for range 150 {
		r := c.call(t, "GET", "/v2/balance", "KEY0", "")
		if seen[r.StatusCode]++; r.StatusCode == 429 && r.Header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After is %q", r.Header.Get("Retry-After"))
		}
	}
	if seen[401] < 100 || seen[401] > 110 || seen[401]+seen[429] != 150 {
		t.Errorf("answers by status: %v, want about 100 of 401 and the rest 429", seen)
	}
	if r := c.call(t, "GET", "/v2/balance", s.keys["manager@example.com"], ""); r.StatusCode != 200 {
		t.Errorf("the right key is answered %d", r.StatusCode)
	}
}

// TestMatching: a wrong reply has to be found out.
func TestMatching(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		want, got string
		subset    bool
		same      bool
	}{
		{`{"id":"<uuid>"}`, `{"id":"00000000-0000-7000-8000-000000000001"}`, false, true},
		{`{"id":"<uuid>"}`, `{"id":"00000000-0000-7000-8000-000000000001x"}`, false, false},
		{`{"id":"a.b"}`, `{"id":"axb"}`, false, false},
		{`{"a":1}`, `{"a":1,"b":2}`, false, false},
		{`{"a":1}`, `{"a":1,"b":2}`, true, true},
		{`{"a":1,"b":2}`, `{"a":1}`, true, false},
		{`{"a":[{"x":1}]}`, `{"a":[{"x":1,"y":1}]}`, true, true},
		{`[1]`, `[1,2]`, true, false},
		{`{"a":null}`, `{"a":null}`, false, true},
		{`{"a":null}`, `{}`, false, false},
		{`{"a":"<number>"}`, `{"a":7}`, false, true},
		{`{"a":"<number>"}`, `{"a":"7"}`, false, false},
		{`{"a":"at <time>."}`, `{"a":"at 2026-02-01T00:00:00.000Z."}`, false, true},
		{`{"a":"at <time>."}`, `{"a":"at 2026-02-01T00:00:00Z."}`, false, false},
	} {
		var want, got any
		if err := json.Unmarshal([]byte(test.want), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(test.got), &got); err != nil {
			t.Fatal(err)
		}
		if differences := compare("", want, got, test.subset); (differences == nil) != test.same {
			t.Errorf("%s against %s: %v", test.want, test.got, differences)
		}
	}
}

// TestEveryOperationHasACase: each has one that is answered with 200, and each
// that somebody may be refused one with an error.
func TestEveryOperationHasACase(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	missing := map[string]bool{}
	for _, route := range httpapi.Routes {
		mux.HandleFunc(route.Pattern, noHandler)
		missing[route.Pattern] = true
	}
	for _, path := range casePaths(t) {
		for _, step := range readCase(t, path).steps {
			fields := strings.Fields(placeholder.ReplaceAllString(step.request, "x"))
			r, err := http.NewRequest(fields[0], fields[1], nil)
			if err != nil {
				continue
			}
			if _, pattern := mux.Handler(r); step.status == 200 && step.body != "" {
				delete(missing, pattern)
			}
		}
	}
	for pattern := range missing {
		t.Errorf("no case shows what %s answers when all is well", pattern)
	}
}

func noHandler(http.ResponseWriter, *http.Request) {}

// TestEveryKindHasACase reads the kinds of refusal and the table of errors from
// their sources: each kind has a row, and a case that shows the row on the wire.
func TestEveryKindHasACase(t *testing.T) {
	t.Parallel()
	kinds, rows := kindsOf(t), rowsOf(t)
	shown := map[string]bool{}
	for _, path := range casePaths(t) {
		c := readCase(t, path)
		for _, kind := range c.kinds {
			row, ok := rows[kind]
			if !ok {
				t.Errorf("%s names kind %s, which has no row", path, kind)
				continue
			}
			shown[kind] = slices.ContainsFunc(c.steps, func(s step) bool {
				return (s.status == row.status || s.status == 400 && row.status == 422) &&
					strings.Contains(s.body, strconv.Quote(row.code)) && strings.Contains(s.body, strconv.Quote(row.title))
			})
			if !shown[kind] {
				t.Errorf("%s names kind %s and has no reply %d with code %s and title %s", path, kind, row.status, row.code, row.title)
			}
		}
	}
	for _, kind := range kinds {
		if _, ok := rows[kind]; !ok {
			t.Errorf("kind %s has no row in the table of errors", kind)
		}
		if !shown[kind] {
			t.Errorf("kind %s has no case", kind)
		}
	}
}

// kindsOf reads the constants of type Kind.
func kindsOf(t *testing.T) (kinds []string) {
	t.Helper()
	for _, declaration := range parse(t, "../tenant/error.go").Decls {
		group, ok := declaration.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			for _, name := range spec.(*ast.ValueSpec).Names {
				kinds = append(kinds, name.Name)
			}
		}
	}
	if len(kinds) == 0 {
		t.Fatal("found no kinds")
	}
	return kinds
}

type errorRow struct {
	status      int
	code, title string
}

// rowsOf reads the map problems.
func rowsOf(t *testing.T) map[string]errorRow {
	t.Helper()
	codes := map[string]string{}
	ast.Inspect(parse(t, "../../api/errors.go"), func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok {
			codes[spec.Names[0].Name], _ = strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		}
		return true
	})
	rows := map[string]errorRow{}
	ast.Inspect(parse(t, "../httpapi/errors.go"), func(node ast.Node) bool {
		pair, ok := node.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		key, isKind := pair.Key.(*ast.SelectorExpr)
		value, isRow := pair.Value.(*ast.CompositeLit)
		if !isKind || !isRow || len(value.Elts) != 3 {
			return true
		}
		status, _ := strconv.Atoi(value.Elts[0].(*ast.BasicLit).Value)
		title, _ := strconv.Unquote(value.Elts[2].(*ast.BasicLit).Value)
		rows[key.Sel.Name] = errorRow{status, codes[value.Elts[1].(*ast.SelectorExpr).Sel.Name], title}
		return true
	})
	if len(rows) == 0 {
		t.Fatal("found no rows")
	}
	return rows
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return file
}
