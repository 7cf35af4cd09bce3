//go:build !otlp

package app

import (
	"context"
	"errors"
	"log/slog"
)

// newTraces refuses: the exporter is 16 modules that most servers have no use for.
func newTraces(context.Context, *slog.Logger) (tracerProvider, error) {
	return nil, errors.New("traces: this program was built without them; build it with -tags otlp")
}
