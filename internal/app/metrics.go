package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tenantry/tenantry/internal/cli"
	"github.com/tenantry/tenantry/internal/store"
)

// metrics are what GET /metrics tells. They stand on a listener of their own, for
// they ask nobody for credentials. No label holds what a client wrote: there are
// as many series as there are operations and statuses.
type metrics struct {
	listener net.Listener
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	inFlight prometheus.Gauge
	limited  *prometheus.CounterVec
	writes   prometheus.Counter
	commits  prometheus.Histogram
	events   *prometheus.CounterVec
}

// newMetrics takes the address and registers what is told from the start; Open
// registers what its parts tell of themselves once they are there.
func newMetrics(address string) (*metrics, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("metrics-listen: %w", err)
	}
	m := &metrics{
		listener: listener,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenantry_http_requests_total",
			Help: "Requests answered, by operation of the API and status of the answer; 499 is a client that did not wait.",
		}, []string{"operation", "status"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tenantry_http_request_duration_seconds",
			Help:    "How long requests took, from the end of their headers to the end of the answer.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"operation"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tenantry_http_requests_in_flight",
			Help: "Requests that are being answered now.",
		}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tenantry_rate_limited_total",
			Help: "Requests turned away with 429: keys that ask too often, addresses with too many failures, too many sign_ins.",
		}, []string{"limiter"}),
	}
	m.writes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "tenantry_writes_total",
		Help: "Writes confirmed, refusals among them; many share one commit.",
	})
	m.commits = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "tenantry_commit_duration_seconds",
		Help:    "How long a commit took, from its begin until it was on disk.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})
	m.events = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tenantry_webhook_events_total",
		Help: "Events delivered to the webhook, and those that were given up (failed); refused are attempts.",
	}, []string{"result"})
	for _, result := range []string{"delivered", "failed", "refused"} {
		m.events.WithLabelValues(result)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "tenantry_build_info",
		Help:        "Always 1; the labels say what was built.",
		ConstLabels: prometheus.Labels{"version": cli.ProgramVersion(), "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, limiter := range []string{"keys", "failures", "sign_ins"} {
		m.limited.WithLabelValues(limiter)
	}
	m.registry.MustRegister(
		m.requests, m.took, m.inFlight, m.limited, m.writes, m.commits, m.events, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m, nil
}

// committed is store.Options.Committed.
func (m *metrics) committed(writes int, took time.Duration) {
	m.writes.Add(float64(writes))
	m.commits.Observe(took.Seconds())
}

// delivered is webhook.Options.Counted.
func (m *metrics) delivered(result string) { m.events.WithLabelValues(result).Inc() }

// watch tells of the database, which is asked when somebody looks.
func (m *metrics) watch(db *store.DB) {
	yes := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	gauge := func(name, help string, value func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("tenantry_writes_waiting", "Writes that wait for their turn.", func() float64 { return float64(db.Waiting()) })
	gauge("tenantry_cache_trusted", "1 while this node hears what others change; at 0 it asks the database each time.", func() float64 { return yes(db.Trusted()) })
	gauge("tenantry_database_up", "1 while the database answers and can be written.", func() float64 {
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		return yes(db.Ready(ctx) == nil)
	})
	// Every node tells the same: what waits stands in the database.
	gauge("tenantry_webhook_oldest_seconds", "Age of the oldest event that the webhook has yet to accept; 0 when there is none.", func() float64 {
		ctx, stop := context.WithTimeout(context.Background(), time.Second)
		defer stop()
		var age time.Duration
		db.View(ctx, func(tx *store.Tx) error {
			since, err := tx.WebhookSince()
			if err != nil || since == "" {
				return err
			}
			oldest, err := tx.WebhookOldest(since)
			if !oldest.IsZero() {
				age = max(0, tx.Now().Sub(oldest))
			}
			return err
		})
		return age.Seconds()
	})
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tenantry_commits_unresolved_total",
		Help: "Commits of which nobody could tell in time whether they took place.",
	}, func() float64 { return float64(db.Unresolved()) }))
}

// Operation implements httpapi.Observer. Looking a counter up by its labels takes
// longer than counting, and so the usual ones are at hand. They are there from the
// start, at 0, for else nobody sees the first failure as an increase.
func (m *metrics) Operation(id string) func(status int, took time.Duration) {
	usual := map[int]prometheus.Counter{}
	for _, status := range []int{200, 500, 503} {
		usual[status] = m.requests.WithLabelValues(id, strconv.Itoa(status))
	}
	seconds := m.took.WithLabelValues(id)
	return func(status int, took time.Duration) {
		seconds.Observe(took.Seconds())
		if counter := usual[status]; counter != nil {
			counter.Inc()
			return
		}
		m.requests.WithLabelValues(id, strconv.Itoa(status)).Inc()
	}
}

// RateLimited implements httpapi.Observer.
func (m *metrics) RateLimited(limiter string) { m.limited.WithLabelValues(limiter).Inc() }

// serve answers GET /metrics until the server that it returns is closed.
func (m *metrics) serve(log *slog.Logger) *http.Server {
	quiet := slog.NewLogLogger(log.Handler(), slog.LevelDebug)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorLog: quiet}))
	server := &http.Server{
		Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, ErrorLog: quiet,
	}
	go func() {
		if err := server.Serve(m.listener); err != http.ErrServerClosed {
			log.Error("metrics are not served any more", "error", err)
		}
	}()
	return server
}
