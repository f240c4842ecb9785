// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// backend is a back end under test: a host of its own, which answers as it is told.
type backend struct {
	network *simnet.Network
	mu      sync.Mutex
	answer  func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	batches [][]delivered
	times   []time.Time
}

type delivered struct {
	Position uint64
	Kind     string
	DeviceID string
	Missed   uint64
	Message  struct{ Body string }
}

func (*backend) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times = append(b.times, time.Now())
	if b.answer != nil && b.answer(w, r) {
		return
	}
	var batch []delivered
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&batch) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	b.batches = append(b.batches, batch)
}

func (b *backend) set(answer func(w http.ResponseWriter, r *http.Request) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
		return true
	}
}

// bodies is all telemetry that has arrived, in its order.
func (b *backend) bodies() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, batch := range b.batches {
		for _, e := range batch {
			if e.Kind == "gap" {
				all = append(all, fmt.Sprintf("gap of %d", e.Missed))
			} else {
				all = append(all, e.DeviceID+" "+e.Message.Body)
			}
		}
	}
	return all
}

// routed runs a test in a bubble, with a webhook that leads to a back end.
func routed(
	t *testing.T, c webhookConfig, events *simnet.EventLog,
	f func(b *backend, send func(device, body string), log *bytes.Buffer),
) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		network.RecordEvents(events)
		b := &backend{network: network}
		network.Handle("backend.test", b)
		var out bytes.Buffer
		c.URL = "https://backend.test/telemetry?code=" + journalKey
		client := webhookClient()
		client.Transport = &http.Transport{
			DialContext: network.DialContext, TLSClientConfig: network.TLSConfig(),
		}
		defer client.CloseIdleConnections()
		ctx, stop := context.WithCancel(t.Context())
		var task sync.WaitGroup
		task.Go(func() { newWebhook(c, client, events, newLogger(&out)).run(ctx) })
		synctest.Wait() // it waits for what comes
		f(b, func(device, body string) {
			network.Record(simnet.Event{
				Kind: simnet.EventTelemetry, DeviceID: device,
				Message: &simnet.EventMessage{Body: []byte(body)},
			})
			network.Record(simnet.Event{Kind: simnet.EventConnected, DeviceID: device})
		}, &out)
		stop()
		task.Wait()
		assert.NotContains(t, out.String(), journalKey)
	})
}

func TestTelemetryIsSentInBatchesInItsOrder(t *testing.T) {
	routed(t, webhookConfig{
		MaxMessages: 4, Headers: map[string]string{"X-Key": "k"},
	}, new(simnet.EventLog), func(b *backend, send func(string, string), _ *bytes.Buffer) {
		b.set(func(w http.ResponseWriter, r *http.Request) bool {
			return r.Header.Get("X-Key") != "k" && status(401)(w, r)
		})
		var want []string
		for i := range 10 {
			device := fmt.Sprint("dev", i%2)
			send(device, fmt.Sprint(i))
			want = append(want, fmt.Sprint(device, " ", i))
		}
		time.Sleep(defaultEvery + time.Millisecond)
		synctest.Wait()
		assert.Equal(t, want, b.bodies())
		require.Len(t, b.batches, 3)
		assert.Len(t, b.batches[0], 4)
		time.Sleep(time.Minute) // nothing is sent twice
		synctest.Wait()
		assert.Len(t, b.times, 3)
	})
}

func TestABatchOfLargeMessagesEndsBeforeItsBound(t *testing.T) {
	routed(t, webhookConfig{}, new(simnet.EventLog), func(
		b *backend, send func(string, string), _ *bytes.Buffer,
	) {
		for range 10 {
			send("dev", strings.Repeat("x", 250<<10))
		}
		time.Sleep(defaultEvery + time.Millisecond)
		synctest.Wait()
		require.Equal(t, 3, len(b.batches))
		assert.Equal(t, 4, len(b.batches[0]))
	})
}

func TestABackEndThatIsAwayGetsAllOfItLaterAndIsLoggedOnce(t *testing.T) {
	routed(t, webhookConfig{}, new(simnet.EventLog), func(
		b *backend, send func(string, string), out *bytes.Buffer,
	) {
		var want []string
		for outage := range 2 {
			b.set(status(503))
			for i := range 30 {
				send("dev", fmt.Sprint(outage, i))
				want = append(want, fmt.Sprint("dev ", outage, i))
				time.Sleep(10 * time.Second)
				synctest.Wait()
			}
			assert.Equal(t, 1+outage, strings.Count(out.String(), "takes no telemetry"))
			assert.Contains(t, out.String(), "status 503")
			b.set(nil)
			time.Sleep(2 * time.Minute) // the longest back-off, and all of it
			synctest.Wait()
			assert.Equal(t, want, b.bodies())
			assert.Equal(t, 1+outage, strings.Count(out.String(), "takes telemetry again"))
		}
		// back-off: not a request each half a second, of which there are 1200
		assert.Less(t, len(b.times), 120)
	})
}

func TestABackEndThatCannotBeReachedIsLoggedWithoutItsKey(t *testing.T) {
	routed(t, webhookConfig{}, new(simnet.EventLog), func(
		b *backend, send func(string, string), out *bytes.Buffer,
	) {
		b.network.SetFault("backend.test", simnet.Refused)
		send("dev", "1")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 1, strings.Count(out.String(), "takes no telemetry")) // and no key
		assert.Contains(t, out.String(), "refused")
		b.network.SetFault("backend.test", simnet.None)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"dev 1"}, b.bodies())
	})
}

func TestRetryAfterOfTheBackEndIsKept(t *testing.T) {
	routed(t, webhookConfig{}, new(simnet.EventLog), func(
		b *backend, send func(string, string), _ *bytes.Buffer,
	) {
		b.set(status(429, "Retry-After", "600"))
		send("dev", "1")
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		require.Len(t, b.times, 1)
		b.set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Len(t, b.times, 2)
		assert.GreaterOrEqual(t, b.times[1].Sub(b.times[0]), 10*time.Minute)
	})
}

func TestABatchThatTheBackEndWillNeverTakeIsLeftOut(t *testing.T) {
	routed(t, webhookConfig{}, new(simnet.EventLog), func(
		b *backend, send func(string, string), out *bytes.Buffer,
	) {
		b.set(status(413))
		send("dev", "1")
		time.Sleep(time.Minute)
		synctest.Wait()
		b.set(nil)
		send("dev", "2")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []string{"dev 2"}, b.bodies())
		assert.Contains(t, out.String(), "status 413")
	})
}

func TestTheQueueIsBoundedAndTheBackEndIsToldWhatIsMissing(t *testing.T) {
	routed(t, webhookConfig{}, &simnet.EventLog{MaxEvents: 20}, func(
		b *backend, send func(string, string), out *bytes.Buffer,
	) {
		b.set(status(500))
		send("dev", "0")
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 100 {
			send("dev", fmt.Sprint(1+i))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		b.set(nil)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		got := b.bodies()
		assert.Equal(t, []string{"dev 0", "gap of 180", "dev 91"}, got[:3])
		assert.Equal(t, "dev 100", got[len(got)-1])
		assert.Len(t, got, 12)
		assert.Contains(t, out.String(), "events=180")
	})
}
