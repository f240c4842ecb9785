package main

import (
	"io"
	"log/slog"
)

// newLogger writes one line for each record. The library logs each change of the device's state,
// with the keys state, hub, source, cause and wait.
func newLogger(w io.Writer, format string) *slog.Logger {
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}
