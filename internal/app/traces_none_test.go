//go:build !otlp

package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tenantry/tenantry/internal/config"
)

// TestTraces: who asks for traces and cannot have them is told what to build.
func TestTraces(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "data")
	err := open(t, folder, func(c *config.Config) { c.Traces = "otlp" }, "")
	if err == nil || !strings.Contains(err.Error(), "build it with -tags otlp") {
		t.Error(err)
	}
	if _, err := os.Stat(folder); err == nil {
		t.Error("a data folder was made")
	}
}
