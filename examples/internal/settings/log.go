// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"io"
	"log/slog"
)

// NewLogger writes one line for each record, as JSON or, if format says so, as text. The library's
// messages and their keys are in docs/logs.md.
func NewLogger(w io.Writer, format string) *slog.Logger {
	if format == "text" {
		return slog.New(slog.NewTextHandler(w, nil))
	}
	return slog.New(slog.NewJSONHandler(w, nil))
}
