// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

const device = devicetest.DeviceID

func tempFile(t testing.TB) string { return filepath.Join(t.TempDir(), "outbox.db") }

func open(t testing.TB, path string, o Options) *File {
	t.Helper()
	f, err := Open(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func boxOf(t testing.TB, f *File) *Outbox {
	t.Helper()
	box, err := f.Outbox(device)
	require.NoError(t, err)
	return box
}

// quickly commits as often as the medium can.
var quickly = Options{Interval: time.Nanosecond}

func numbered(n int) hubconn.Message { return hubconn.Message{Body: fmt.Append(nil, n)} }

func send(t testing.TB, box *Outbox, messages ...int) {
	t.Helper()
	for _, n := range messages {
		require.NoError(t, box.Send(t.Context(), numbered(n)))
	}
}

// contents are the bodies of what a file keeps in a lane, in their order.
func contents(t testing.TB, box *Outbox, lane lane) (bodies []string) {
	t.Helper()
	for after := uint64(0); ; {
		messages, err := box.read(lane, after)
		require.NoError(t, err)
		if len(messages) == 0 {
			return bodies
		}
		for _, m := range messages {
			assert.True(t, m.fit)
			bodies = append(bodies, string(m.Body))
			after = m.sequence
		}
	}
}

// numbersFrom are the bodies of numbered messages.
func numbersFrom(first, n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(first+i))
	}
	return all
}

// runs has the device of a simulation deliver until the test ends it.
func runs(t testing.TB, sim *devicetest.Simulation, box *Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	dev := sim.Restart(device)
	go func() {
		defer close(done)
		if err := dev.Run(ctx, box.Deliver); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// eventually waits for what others bring about.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for range 20000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.Fail(t, "never: "+what)
}

// first are the bodies of messages, each when it came first, and how many came again.
func first(messages []hubtest.Message) (bodies []string, again int) {
	seen := map[string]string{}
	for _, m := range messages {
		body := string(m.Body)
		if id, twice := seen[body]; twice {
			if id == m.System["$.mid"] {
				again++
			}
			continue
		}
		seen[body] = m.System["$.mid"]
		bodies = append(bodies, body)
	}
	return bodies, again
}

// messagesOf are numbered messages that are longer by some bytes.
func messagesOf(numbers []int, longer int) (all []hubconn.Message) {
	for _, n := range numbers {
		all = append(all, hubconn.Message{
			Body: append(fmt.Append(nil, n), bytes.Repeat([]byte("."), longer)...),
		})
	}
	return all
}
