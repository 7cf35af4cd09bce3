package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"strconv"

	"github.com/tenantry/tenantry/internal/app"
)

// role is what a child does: "server" is Tenantry, "bare" a net/http handler
// that does nothing, "proxy" a ReverseProxy that adds nothing. A child prints its address, and that of its profiles, in one
// line and ends when its standard input does.
type role struct {
	name, data, database string
	services, upstream   string
	batch                int
	debug                bool
}

func (r *role) flags(set *flag.FlagSet) {
	set.StringVar(&r.name, "role", "", "for the program's own use: server, bare or proxy")
	set.StringVar(&r.data, "data", "", "for the program's own use: the server's data folder")
	set.StringVar(&r.database, "database", "", "for the program's own use: the server's database, unless it is in the data folder")
	set.StringVar(&r.services, "services", "", "for the program's own use: the server's file of services")
	set.StringVar(&r.upstream, "upstream", "", "for the program's own use: where the bare proxy sends requests")
	set.IntVar(&r.batch, "batch", 0, "for the program's own use: writes that share one commit at most")
	set.BoolVar(&r.debug, "debug", false, "for the program's own use: offer profiles")
}

func (r *role) run() error {
	signal.Ignore(os.Interrupt) // the parent hears of it and ends its children
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	switch r.name {
	case "server":
		return r.serve(ctx)
	case "bare":
		return r.bare(ctx)
	case "proxy":
		return r.proxy(ctx)
	default:
		return fmt.Errorf("there is no role %q", r.name)
	}
}

// serve is "tenantry serve", but for a rate limit that lets everything pass: it
// is counted and written into the headers like the usual one.
func (r *role) serve(ctx context.Context) error {
	c, err := app.Defaults()
	if err != nil {
		return err
	}
	c.Data, c.Database, c.RateLimit, c.RateBurst = r.data, r.database, 1_000_000, 1_000_000
	c.Services = r.services
	// So that one client can sign in as if from many addresses.
	c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.Open(ctx, c, app.Parts{Logger: logger, Batch: r.batch})
	if err != nil {
		return err
	}
	defer a.Close()
	if r.batch > 0 {
		// The queue has room for four batches and refuses what is above that.
		a.Handler = gate(a.Handler, 4*r.batch)
	}
	listener, err := r.listen()
	if err != nil {
		return err
	}
	return a.Serve(ctx, listener)
}

// bare answers the path /N with N bytes.
func (r *role) bare(ctx context.Context) error {
	listener, err := r.listen()
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Path[1:])
		header := w.Header()
		header["Content-Type"] = []string{"application/json"}
		header["Content-Length"] = []string{strconv.Itoa(size)}
		w.Write(body[:size])
	}))
	<-ctx.Done()
	return nil
}

// proxy is net/http/httputil's, with nothing around it, but for connections enough.
func (r *role) proxy(ctx context.Context) error {
	listener, err := r.listen()
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 256
	go http.Serve(listener, &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: r.upstream})
			p.SetXForwarded()
		},
	})
	<-ctx.Done()
	return nil
}

func (r *role) listen() (net.Listener, error) {
	debug := "-"
	if r.debug {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		debug = listener.Addr().String()
		go http.Serve(listener, profiles())
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		fmt.Println(listener.Addr(), debug)
	}
	return listener, err
}

// profiles records a CPU profile from /start to /stop, and says how large the heap is.
func profiles() http.Handler {
	var profile bytes.Buffer
	mux := http.NewServeMux()
	mux.HandleFunc("/start", func(w http.ResponseWriter, _ *http.Request) {
		profile.Reset()
		if err := pprof.StartCPUProfile(&profile); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("/stop", func(w http.ResponseWriter, _ *http.Request) {
		pprof.StopCPUProfile()
		w.Write(profile.Bytes())
	})
	mux.HandleFunc("/heap", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		fmt.Fprint(w, now.HeapAlloc)
	})
	return mux
}

// gate lets so many requests in at once; the others wait.
func gate(h http.Handler, most int) http.Handler {
	places := make(chan struct{}, most)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		places <- struct{}{}
		defer func() { <-places }()
		h.ServeHTTP(w, r)
	})
}
