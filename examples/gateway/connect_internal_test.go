// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatNATSReportsAgainAndAgainIsLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		l := newNATSLog(slog.New(slog.NewJSONHandler(&text, nil)))
		lines := func() int { return strings.Count(text.String(), "\n") }
		for range 10 {
			l.report(nil, nats.ErrAuthorization)
			time.Sleep(2 * time.Second)
		}
		assert.Equal(t, 1, lines(), "%s", text.String())
		l.report(&nats.Subscription{Subject: "a.b"}, errors.New("two\nlines"))
		assert.Equal(t, 2, lines(), "%s", text.String())
		assert.Contains(t, text.String(), `"subject":"a.b"`)
		time.Sleep(time.Minute)
		l.report(nil, nats.ErrAuthorization)
		assert.Equal(t, 3, lines(), "%s", text.String())
		for i := range 1000 {
			l.report(nil, fmt.Errorf("error %d", i))
		}
		assert.LessOrEqual(t, len(l.told), 64, "it does not grow for ever")
	})
}

// Without these the client writes to standard error, between the lines of the log.
func TestWhatTheConnectionToNATSMeetsIsInTheLog(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	l := newNATSLog(slog.New(slog.NewJSONHandler(&text, nil)))
	var o nats.Options
	for _, option := range l.options() {
		require.NoError(t, option(&o))
	}
	o.AsyncErrorCB(nil, nil, nats.ErrAuthorization)
	o.DisconnectedErrCB(nil, io.EOF)
	o.DisconnectedErrCB(nil, nil) // this side has closed it
	o.ReconnectErrCB(nil, errors.New("nobody listens"))
	assert.Equal(t, "nobody listens", l.cause(new(nats.Conn)))
	o.ReconnectedCB(nil)
	assert.Equal(t, "there is no answer", l.cause(new(nats.Conn)))
	var messages []string
	for line := range strings.Lines(text.String()) {
		var r struct{ Level, Msg string }
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		messages = append(messages, r.Level+" "+r.Msg)
	}
	assert.Equal(t, []string{
		"WARN NATS reports an error", "WARN connection to NATS has ended: it is made anew",
		"INFO connected to NATS again",
	}, messages)
}

func TestTheEndDoesNotWaitForANameServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := dialer{ctx}.Dial("tcp", "nats.example:4222")
	assert.ErrorIs(t, err, context.Canceled)
}
