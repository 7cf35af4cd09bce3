package cli

import (
	"fmt"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far a run is: a bar on a terminal, else a line every few
// seconds.
type progress struct {
	t     *Terminal
	doing string
	total int
	began time.Time

	bar *progressbar.ProgressBar // nil where there is no terminal

	mu           sync.Mutex
	done, failed int
	quit         chan struct{}
	stopped      chan struct{}
}

// progressEvery is how often there is a line where there is no bar.
const progressEvery = 5 * time.Second

func newProgress(t *Terminal, doing string, total int) *progress {
	p := &progress{t: t, doing: doing, total: total, began: time.Now(), quit: make(chan struct{}), stopped: make(chan struct{})}
	if t.json {
		close(p.stopped)
		return p
	}
	if isTerminal(t.Err) {
		theme := progressbar.Theme{Saucer: "█", SaucerHead: "█", SaucerPadding: "░", BarStart: " ", BarEnd: " "}
		if t.colors(t.Err) {
			theme.Saucer, theme.SaucerHead = "[green]█[reset]", "[green]█[reset]"
		}
		p.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(t.Err), progressbar.OptionSetDescription(doing), progressbar.OptionSetTheme(theme),
			progressbar.OptionEnableColorCodes(t.colors(t.Err)), progressbar.OptionFullWidth(), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("rows"), progressbar.OptionSetElapsedTime(true),
			progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
		)
		p.bar.RenderBlank()
		close(p.stopped)
		return p
	}
	go p.lines()
	return p
}

func (p *progress) lines() {
	defer close(p.stopped)
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		select {
		case <-p.quit:
			return
		case <-ticker.C:
			p.t.note("%s", p.line(time.Since(p.began)))
		}
	}
}

// line is where the run stands after so long.
func (p *progress) line(after time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s: %s of %s", p.doing, thousands(p.done), rowsOf(p.total))
	if rate := float64(p.done) / after.Seconds(); p.done > 0 && after > 0 {
		left := time.Duration(float64(p.total-p.done) / rate * float64(time.Second))
		text += fmt.Sprintf(", %.0f a second, about %s left", rate, left.Round(time.Second))
	}
	if p.failed > 0 {
		text += fmt.Sprintf(", %s failed", thousands(p.failed))
	}
	return text
}

// add tells that so many more rows are done, and how many have failed in all.
func (p *progress) add(rows, failed int) {
	p.mu.Lock()
	p.done += rows
	grown := failed != p.failed
	p.failed = failed
	p.mu.Unlock()
	if p.bar == nil {
		return
	}
	if grown {
		p.bar.Describe(fmt.Sprintf("%s (%s failed)", p.doing, thousands(failed)))
	}
	p.bar.Add(rows)
}

func (p *progress) close() {
	close(p.quit)
	<-p.stopped
	if p.bar != nil {
		fmt.Fprintln(p.t.Err)
	}
}

// Progress shows how far something is that is done to so many rows: add tells of
// rows that are done, end that there are no more.
func (t *Terminal) Progress(doing string, rows int) (add func(rows int), end func()) {
	p := newProgress(t, doing, rows)
	return func(rows int) { p.add(rows, 0) }, p.close
}
