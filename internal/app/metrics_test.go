package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tenantry/tenantry/internal/app"
	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/httpapi"
	"github.com/tenantry/tenantry/internal/portal"
)

// scrape is what Prometheus reads: the value of each series, of a histogram its
// count, by name and labels; and the text.
func scrape(t *testing.T, url string) (map[string]float64, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		t.Fatalf("%d, %v: %s", response.StatusCode, err, text)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for name, family := range families {
		for _, m := range family.Metric {
			values[name+labels(m)] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return values, string(text)
}

// labels are written as in a query: {limiter="keys"}.
func labels(m *dto.Metric) string {
	var all []string
	for _, pair := range m.Label {
		all = append(all, fmt.Sprintf("%s=%q", pair.GetName(), pair.GetValue()))
	}
	if all == nil {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}

// TestMetrics: what is counted is what was asked, and it is told on the listener
// of its own alone.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := start(t, nil, func(c *config.Config) { c.MetricsListen, c.RateLimit, c.RateBurst = "127.0.0.1:0", 0.001, 20 })
	before, _ := scrape(t, s.app.MetricsURL())
	for _, r := range httpapi.Routes {
		for _, name := range []string{
			`tenantry_http_requests_total{operation=%q,status="200"}`, `tenantry_http_requests_total{operation=%q,status="500"}`,
			`tenantry_http_requests_total{operation=%q,status="503"}`, `tenantry_http_request_duration_seconds{operation=%q}`,
		} {
			if value, ok := before[fmt.Sprintf(name, r.ID)]; !ok || value != 0 {
				t.Errorf("at the start "+name+" is %v, %v", r.ID, value, ok)
			}
		}
	}
	c := s.connect(t)
	for range 23 {
		c.call(t, "GET", "/v2/managed_accounts", s.keys["manager@example.com"], "")
	}
	for range 3 {
		c.call(t, "GET", "/v2/balance", "", "")
	}
	if answer := c.call(t, "GET", "/metrics", "", ""); answer.StatusCode != 404 {
		t.Errorf("the API answers %d to /metrics", answer.StatusCode)
	}
	after, _ := scrape(t, s.app.MetricsURL())
	for name, want := range map[string]float64{
		`tenantry_http_requests_total{operation="ListManagedAccounts",status="200"}`:        20,
		`tenantry_http_requests_total{operation="ListManagedAccounts",status="429"}`:        3,
		`tenantry_http_requests_total{operation="GetUserBalance",status="401"}`:             3,
		`tenantry_http_requests_total{operation="GetUserBalance",status="200"}`:             0,
		`tenantry_http_requests_total{operation="unknown",status="404"}`:                    1,
		`tenantry_http_request_duration_seconds{operation="ListManagedAccounts"}`:           23,
		`tenantry_http_request_duration_seconds{operation="GetUserBalance"}`:                3,
		`tenantry_http_requests_in_flight`:                                                  0,
		`tenantry_rate_limited_total{limiter="keys"}`:                                       3,
		`tenantry_rate_limited_total{limiter="failures"}`:                                   0,
		`tenantry_rate_limited_total{limiter="sign_ins"}`:                                   0,
		fmt.Sprintf(`tenantry_build_info{goversion=%q,version="devel"}`, runtime.Version()): 1,
	} {
		if got, ok := after[name]; !ok || got != want {
			t.Errorf("%s is %v (%v), want %v", name, got, ok, want)
		}
	}
	if after["go_goroutines"] == 0 || runtime.GOOS == "linux" && after["process_resident_memory_bytes"] == 0 {
		t.Error("nothing is told of Go and of the process")
	}
	for _, path := range []string{"/", "/debug/pprof/", "/v2/managed_accounts"} {
		response, err := http.Get(strings.TrimSuffix(s.app.MetricsURL(), "/metrics") + path)
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != 404 {
			t.Errorf("%s beside the metrics: %d", path, response.StatusCode)
		}
	}
}

// TestMetricsBounded: whatever clients write, they neither make series of it nor
// get it into one.
func TestMetricsBounded(t *testing.T) {
	t.Parallel()
	s := start(t, nil, func(c *config.Config) { c.MetricsListen = "127.0.0.1:0" })
	c := s.connect(t)
	flood := func(from, to int) {
		for i := from; i < to; i++ {
			canary := fmt.Sprintf("canary%d", i)
			for _, target := range []string{"/" + canary, "/v2/managed_accounts/" + canary, "/v2/managed_accounts?" + canary + "=" + canary, "/v2//" + canary} {
				c.call(t, "GET", target, s.keys["manager@example.com"], "")
				c.call(t, "GET", target, "KEY"+canary, "")
				c.call(t, strings.ToUpper(canary), target, "", "")
			}
			c.call(t, "POST", "/portal/session", "", fmt.Sprintf(`{"email":"%s@example.com","password":%q}`, canary, canary))
		}
	}
	flood(0, 75) // enough for each limiter
	first, _ := scrape(t, s.app.MetricsURL())
	flood(75, 100)
	second, text := scrape(t, s.app.MetricsURL())
	for name := range second {
		if _, ok := first[name]; !ok {
			t.Errorf("more requests have made a series: %s", name)
		}
	}
	if strings.Contains(strings.ToLower(text), "canary") || strings.Contains(text, s.keys["manager@example.com"]) {
		t.Error("what a client wrote is in the metrics")
	}
	operations := append([]string{"unknown"}, portal.Operations...)
	for _, r := range httpapi.Routes {
		operations = append(operations, r.ID)
	}
	for name := range second {
		if !strings.HasPrefix(name, "tenantry_http_request") || !strings.Contains(name, "{") {
			continue
		}
		_, operation, _ := strings.Cut(name, `operation="`)
		operation, _, _ = strings.Cut(operation, `"`)
		_, status, counted := strings.Cut(name, `status="`)
		if !slices.Contains(operations, operation) || counted && (len(status) != 5 || status < "200" || status >= "600") {
			t.Errorf("what is %s?", name)
		}
	}
}

// TestMetricsAddress: one that cannot be had stops the start before anything is
// made, and a stopped server has given it back.
func TestMetricsAddress(t *testing.T) {
	t.Parallel()
	// An address that no other test takes a port of, when this one has let it go.
	taken, err := net.Listen("tcp", "127.0.0.77:0")
	if err != nil {
		t.Skipf("SKIPPED: this system has one loopback address only: %v", err)
	}
	defer taken.Close()
	folder := filepath.Join(t.TempDir(), "data")
	for address, want := range map[string]string{
		"9077": "metrics-listen must be host:port", taken.Addr().String(): "metrics-listen: listen tcp " + taken.Addr().String(), "192.0.2.1:9077": "metrics-listen: ",
	} {
		err := open(t, folder, func(c *config.Config) { c.MetricsListen = address }, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("a data folder was made")
	}
	address := taken.Addr().String()
	taken.Close()
	for range 2 {
		if err := open(t, folder, func(c *config.Config) { c.MetricsListen = address }, ""); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkRetrieve is "retrieve an account" from memory, without net/http: what
// metrics cost shows here.
func BenchmarkRetrieve(b *testing.B) {
	for name, address := range map[string]string{"plain": "", "metrics": "127.0.0.1:0"} {
		b.Run(name, func(b *testing.B) {
			c, err := app.Defaults()
			if err != nil {
				b.Fatal(err)
			}
			c.Data, c.RateLimit, c.RateBurst, c.MetricsListen = b.TempDir(), 1e6, 1e6, address
			a, err := app.Open(b.Context(), c, app.Parts{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer a.Close()
			seed, err := app.ParseSeed([]byte("accounts: [{business_name: A, email: a@example.com, manager: {}, managed_accounts: [{business_name: B}]}]"))
			if err != nil {
				b.Fatal(err)
			}
			made, err := a.Load(context.Background(), seed)
			if err != nil {
				b.Fatal(err)
			}
			r, err := http.NewRequest("GET", "/v2/managed_accounts/"+made[1].ID, nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+made[0].Key)
			answer := blank{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(answer.header)
				a.Handler.ServeHTTP(answer, r)
			}
			if answer.header.Get("X-Ratelimit-Limit") == "" {
				b.Fatal("it was not answered")
			}
		})
	}
}

// blank is a ResponseWriter that costs nothing.
type blank struct{ header http.Header }

func (b blank) Header() http.Header         { return b.header }
func (b blank) Write(p []byte) (int, error) { return len(p), nil }
func (b blank) WriteHeader(int)             {}
