package pgtest

import (
	"testing"
	"time"
)

func TestPair(t *testing.T) {
	at := time.Now()
	lap := func(what string) { t.Logf("%-10s %v", what, time.Since(at)); at = time.Now() }
	p := StartPair(t)
	lap("start")
	for range 5 {
		p.KillPrimary()
		lap("kill")
		p.Promote()
		lap("promote")
		p.Rejoin()
		lap("rejoin")
	}
}
