// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// logger is the server's log, and knows what ended its start.
type logger struct {
	to *slog.Logger

	mu   sync.Mutex
	died error
}

func (l *logger) Noticef(format string, args ...any) { l.to.Debug("nats: " + text(format, args)) }
func (l *logger) Warnf(format string, args ...any)   { l.to.Warn("nats: " + text(format, args)) }
func (l *logger) Errorf(format string, args ...any)  { l.to.Error("nats: " + text(format, args)) }
func (l *logger) Debugf(string, ...any)              {}
func (l *logger) Tracef(string, ...any)              {}

// Fatalf is told what a server of its own would exit for.
func (l *logger) Fatalf(format string, args ...any) {
	l.to.Error("nats: " + text(format, args))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.died = errors.New(text(format, args))
}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.died
}

func text(format string, args []any) string { return fmt.Sprintf(format, args...) }
