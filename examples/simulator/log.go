package main

import (
	"io"
	"log/slog"
)

// newLogger returns the log on standard error: lines of text for people. Programs read the ready line.
func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
