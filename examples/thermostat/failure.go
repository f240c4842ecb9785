// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
)

// failure puts an error's keys on a line of the log: of an error of DPS or the hub its cause, in
// words that are the same for all failures of one kind, its class, status, code and tracking_id; of
// any other its text as the cause.
func failure(err error) slog.Attr {
	type keyed interface {
		error
		slog.LogValuer
	}
	if e, ok := errors.AsType[keyed](err); ok {
		return slog.Attr{Value: e.LogValue()}
	}
	return slog.String("cause", err.Error())
}
