// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serve answers until the test ends, or stop is called.
func serve(t *testing.T, store string, s State) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	over := errors.New("over")
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, store, "board", func() State { return s }) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel(over)
			assert.ErrorIs(t, <-ended, over)
		}
	}
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		got, err := Ask(t.Context(), store, "board")
		return err == nil && got != nil
	}, time.Minute, time.Millisecond)
	return stop
}

func TestProgramAnswersAsLongAsItServes(t *testing.T) {
	store := filepath.Join(t.TempDir(), "store") // not made yet
	got, err := Ask(t.Context(), store, "board")
	assert.NoError(t, err)
	assert.Nil(t, got)

	want := State{State: "waiting", Cause: "server", Next: "2026-01-31T09:00:00Z"}
	stop := serve(t, store, want)
	got, err = Ask(t.Context(), store, "board")
	assert.NoError(t, err)
	assert.Equal(t, &want, got)
	assert.Equal(t, errTaken, Serve(t.Context(), store, "board", nil))
	got, err = Ask(t.Context(), store, "other")
	assert.NoError(t, err)
	assert.Nil(t, got)

	stop()
	got, err = Ask(t.Context(), store, "board")
	assert.NoError(t, err)
	assert.Nil(t, got)
	serve(t, store, want)
}

func TestWhatIsNoAnswerIsSilence(t *testing.T) {
	store := t.TempDir()
	l, err := net.Listen("unix", name(store, "board"))
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(`{"state": "conn`))
			c.Close()
		}
	}()
	_, err = Ask(t.Context(), store, "board")
	assert.ErrorIs(t, err, ErrSilent)
}

func TestStateIsOneLineForPeople(t *testing.T) {
	for want, s := range map[string]State{
		"connected to hub-a (from store)": {State: "connected", Hub: "hub-a", Source: "store"},
		"waiting until 2026-01-31T09:00:00Z: no route": {
			State: "waiting", Hub: "hub-a", Next: "2026-01-31T09:00:00Z", Cause: "no route",
		},
		"stopped": {State: "stopped"},
	} {
		assert.Equal(t, want, s.String())
	}
}
