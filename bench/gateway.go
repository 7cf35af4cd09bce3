package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// gateway asks a service through the server, and through a ReverseProxy that looks
// neither at credentials nor at limits. The service is a bare handler.
func (b *bench) gateway(ctx context.Context) error {
	names := []string{"gateway/1k", "gateway/64k"}
	if !b.wanted(names...) {
		return nil
	}
	d, err := b.accountsData(ctx, b.accounts)
	if err != nil {
		return err
	}
	upstream, err := b.launch("bare")
	if err != nil {
		return err
	}
	defer upstream.stop()
	file := filepath.Join(b.folder, "services.yaml")
	text := "services: [{name: bench, path: /v2/bench, strip_prefix: true, url: 'http://" + upstream.addr + "', headers: {X-Secret: bench}}]"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	server, err := b.serve(d, "-services", file)
	if err != nil {
		return err
	}
	defer server.stop()
	bare, err := b.launch("proxy", "-upstream", upstream.addr)
	if err != nil {
		return err
	}
	defer bare.stop()
	clients, err := server.dial(getClients)
	if err != nil {
		return err
	}
	defer clients.close()
	baseline, err := bare.dial(getClients)
	if err != nil {
		return err
	}
	defer baseline.close()
	for i, size := range []int{1 << 10, 64 << 10} {
		if !b.wanted(names[i]) {
			continue
		}
		plain := getRequest(fmt.Sprintf("/%d", size), d.Key)
		request := []byte(strings.Replace(string(plain), "GET /", "GET /v2/bench/", 1))
		const rounds = 5
		var ours, bares sample
		for range rounds {
			s, err := baseline.run(ctx, b.time/rounds, always(plain))
			if err != nil {
				return err
			}
			bares.add(s)
			if s, err = clients.run(ctx, b.time/rounds, always(request)); err != nil {
				return err
			}
			ours.add(s)
		}
		line := (&Line{Name: names[i], Figure: ours.perCPU(), Unit: "req/s of CPU"}).against("bare ReverseProxy", bares.perCPU())
		b.add(line.also("cpu", ours.cpuEach(), "µs").also("bare", bares.cpuEach(), "µs").also("wall", ours.perWall(), "req/s").
			also("p50", millis(quantile(ours.latencies, 0.5)), "ms").also("p99", millis(quantile(ours.latencies, 0.99)), "ms"))
	}
	return nil
}
