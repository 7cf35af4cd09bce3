// Command client measures package client beside a bare call through net/http and
// encoding/json, in the same run: time and allocations per call, and what a
// program grows by.
//
//	go run ./bench/client
//
// The server is a process of its own with constant answers, so that what is
// counted is the caller alone and nothing of a server's work hides the
// difference. Rounds of both alternate and the median counts. No figure fails the
// program: whoever reads the table judges.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tenantry/tenantry/api"
	"github.com/tenantry/tenantry/client"
)

func main() {
	serves := flag.Bool("serve", false, "be the server; its address goes to standard output")
	rounds := flag.Int("rounds", 15, "rounds of each side")
	calls := flag.Int("calls", 400, "calls in a round")
	profile := flag.String("profile", "", "file for a CPU profile of the client's side")
	flag.Parse()
	err := serve()
	if !*serves {
		err = measure(*rounds, *calls, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/client:", err)
		os.Exit(1)
	}
}

const (
	key = "KEY01236170692E74656C6E79782E636F6D_YmlnIGlyb24gaXMgZGVhZA"
	id  = "f65ceda4-6522-4ad6-aede-98de83385123"
)

// account is as large as accounts are, about 700 bytes.
func account(full bool) api.ManagedAccount {
	a := api.ManagedAccount{
		RecordType: "managed_account", ID: id, Email: "new_managed_account@customer.example.org",
		APIUser: "managed_account@example.com", OrganizationName: "Larry's Cat Food Inc", ManagerAccountID: id,
		CreatedAt: "2026-02-02T22:25:27.521Z", UpdatedAt: "2026-02-02T22:25:27.521Z", Status: "enabled", StatusReasons: []string{},
	}
	if full {
		a.APIKey, a.APIToken = key, "x6oexQNHTs-fZ7-QsDMOeg"
		a.Balance = &api.AccountBalance{RecordType: "balance", Balance: "300.00", CreditLimit: "100.00", AvailableCredit: "400.00", Currency: "USD"}
	}
	return a
}

func serve() error {
	if !slices.Contains(os.Args[1:], "-serve") {
		return nil
	}
	one, err := json.Marshal(api.Response[api.ManagedAccount]{Data: account(true)})
	if err != nil {
		return err
	}
	list, err := json.Marshal(api.ListResponse[api.ManagedAccount]{
		Data: slices.Repeat([]api.ManagedAccount{account(false)}, 25),
		Meta: api.Meta{TotalPages: 40, TotalResults: 1000, PageNumber: 1, PageSize: 25},
	})
	if err != nil {
		return err
	}
	answer := func(text []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", fmt.Sprint(len(text)))
			w.Header().Set("X-Request-Id", id)
			w.Write(text)
		}
	}
	http.Handle("GET /v2/managed_accounts/{id}", answer(one))
	http.Handle("GET /v2/managed_accounts", answer(list))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return http.Serve(listener, nil)
}

// side is one way to do a call.
type side struct {
	call func(context.Context) error

	wall, cpu, allocations, bytes []float64 // per call, one of each round
}

func measure(rounds, calls int, profile string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	server := exec.Command(program, "-serve")
	server.Stderr = os.Stderr
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Wait()
	defer server.Process.Kill()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("the server does not start: %w", err)
	}
	base := "http://" + strings.TrimSpace(line) + "/v2"

	c := client.New(client.WithBaseURL(base), client.WithKey(key))
	jobs := []struct {
		name         string
		bare, client side
	}{
		{
			name: "get one account",
			bare: side{call: func(ctx context.Context) error {
				var answer api.Response[api.ManagedAccount]
				return bare(ctx, base+"/managed_accounts/"+id, &answer)
			}},
			client: side{call: func(ctx context.Context) error {
				_, err := c.ManagedAccounts.Retrieve(ctx, id)
				return err
			}},
		},
		{
			name: "list 25 accounts",
			bare: side{call: func(ctx context.Context) error {
				var answer api.ListResponse[api.ManagedAccount]
				return bare(ctx, base+"/managed_accounts?page%5Bsize%5D=25", &answer)
			}},
			client: side{call: func(ctx context.Context) error {
				_, err := c.ManagedAccounts.List(ctx, client.ManagedAccountList{PageSize: 25})
				return err
			}},
		},
	}
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	for round := range rounds + 1 {
		for i := range jobs {
			sides := []*side{&jobs[i].bare, &jobs[i].client}
			if round%2 == 1 {
				slices.Reverse(sides)
			}
			for _, s := range sides {
				if err := s.round(calls, round > 0); err != nil { // the first warms up
					return err
				}
			}
		}
	}

	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "per call\tbare\tclient\tratio\taim\t")
	for i := range jobs {
		b, c := &jobs[i].bare, &jobs[i].client
		row := func(what string, b, c []float64) {
			fmt.Fprintf(w, "%s, %s\t%.1f\t%.1f\t%.2f\t1.30\t\n", jobs[i].name, what, median(b), median(c), median(c)/median(b))
		}
		row("µs", b.wall, c.wall)
		row("µs of CPU", b.cpu, c.cpu)
		row("allocations", b.allocations, c.allocations)
		row("bytes allocated", b.bytes, c.bytes)
	}
	if err := sizes(w); err != nil {
		return err
	}
	return w.Flush()
}

// bare is what somebody writes who has no client: no retry, no timeout, no typed
// error.
func bare(ctx context.Context, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != 200 {
		return errors.New(response.Status)
	}
	return json.NewDecoder(response.Body).Decode(into)
}

func (s *side) round(calls int, counts bool) error {
	ctx := context.Background()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	for range calls {
		if err := s.call(ctx); err != nil {
			return err
		}
	}
	wall, cpu := time.Since(began), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	if counts {
		n := float64(calls)
		s.wall = append(s.wall, float64(wall.Nanoseconds())/1000/n)
		s.cpu = append(s.cpu, float64(cpu.Nanoseconds())/1000/n)
		s.allocations = append(s.allocations, float64(after.Mallocs-before.Mallocs)/n)
		s.bytes = append(s.bytes, float64(after.TotalAlloc-before.TotalAlloc)/n)
	}
	return nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

const bareProgram = `package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	request, err := http.NewRequest("GET", "https://api.telnyx.com/v2/managed_accounts", nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TELNYX_API_KEY"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	fmt.Println(string(text), err)
}
`

const clientProgram = `package main

import (
	"context"
	"fmt"

	"github.com/tenantry/tenantry/client"
)

func main() {
	for account, err := range client.New().ManagedAccounts.All(context.Background(), client.ManagedAccountList{}) {
		fmt.Println(account, err)
	}
}
`

// sizes builds a program that lists accounts both ways.
func sizes(w *tabwriter.Writer) error {
	folder, err := os.MkdirTemp("", "bench-client-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	build := func(name, text string) (float64, error) {
		source := filepath.Join(folder, name+".go")
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return 0, err
		}
		program := filepath.Join(folder, name)
		build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", program, source)
		if text, err := build.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w: %s", name, err, text)
		}
		info, err := os.Stat(program)
		if err != nil {
			return 0, err
		}
		return float64(info.Size()) / 1e6, nil
	}
	without, err := build("bare", bareProgram)
	if err != nil {
		return err
	}
	with, err := build("client", clientProgram)
	if err != nil {
		return err
	}
	deps, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "github.com/tenantry/tenantry/client").Output()
	if err != nil {
		return err
	}
	foreign := 0
	for dep := range strings.FieldsSeq(string(deps)) {
		if !strings.HasPrefix(dep, "github.com/tenantry/tenantry/") {
			foreign++
		}
	}
	fmt.Fprintf(w, "\t\t\tgain\taim\t\n")
	fmt.Fprintf(w, "a program that lists accounts, MB\t%.2f\t%.2f\t%.2f\t1.50\t\n", without, with, with-without)
	fmt.Fprintf(w, "packages from outside the standard library\t0\t%d\t%d\t0\t\n", foreign, foreign)
	return nil
}
