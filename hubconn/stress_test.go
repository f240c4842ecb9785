// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// ledger is what the program of the stress test believes to have achieved.
type ledger struct {
	mu       sync.Mutex
	sent     map[string]bool          // telemetry that was acknowledged
	handled  map[string]*hubconn.Conn // the last connection that a message's body finished on
	again    int                      // messages that came again on a later connection
	calls    map[string]int           // of handlers, by payload
	replies  int                      // that the back end got
	reported int                      // the last report that was acknowledged
	uploads  map[string][]byte        // that went well
}

// day is one program's life on a stage: everything at once, through renewals and losses.
type day struct {
	*stage
	ledger
	replica *replica
	serial  int // of what is sent, reported and uploaded
}

func (d *day) next() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serial++
	return d.serial
}

// session is everything that a program can do on a connection, until that or ctx ends.
func (d *day) session(ctx context.Context, conn *hubconn.Conn, seed uint64) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(conn.Context(), cancel)
	var working sync.WaitGroup
	for i := range 4 {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		working.Go(func() {
			for ctx.Err() == nil {
				id := fmt.Sprint(d.next())
				if conn.Send(ctx, hubconn.Message{Body: []byte(id)}) == nil {
					d.mu.Lock()
					d.sent[id] = true
					d.mu.Unlock()
				}
				rest(ctx, time.Duration(random.IntN(4000))*time.Millisecond)
			}
		})
	}
	working.Go(func() { d.messages(ctx, conn) })
	working.Go(func() {
		_ = conn.HandleMethods(ctx, hubconn.Methods{Default: func(
			_ context.Context, r hubconn.MethodRequest,
		) (int, any, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.calls[string(r.Payload)]++
			return 200, r.Payload, nil
		}})
	})
	working.Go(func() {
		for change, err := range conn.Desired(ctx) {
			if err != nil {
				return
			}
			if change.Full {
				d.replica.version = change.Version - 1
			}
			d.replica.apply(change)
		}
	})
	working.Go(func() {
		for ctx.Err() == nil {
			n := d.next()
			if _, err := conn.Report(ctx, object{"n": n}); err == nil {
				d.mu.Lock()
				d.reported = n
				d.mu.Unlock()
			}
			rest(ctx, 5*time.Second)
		}
	})
	working.Go(func() {
		for ctx.Err() == nil {
			name, body := fmt.Sprint("file", d.next()), content(8000)
			err := conn.Upload(ctx, name, bytes.NewReader(body), hubconn.UploadOptions{
				BlockSize: 1000,
			})
			if err == nil {
				d.mu.Lock()
				d.uploads["dev1/"+name] = body
				d.mu.Unlock()
			}
			rest(ctx, 10*time.Second)
		}
	})
	working.Wait()
}

// rest waits within ctx.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// messages handles messages: in moments, but each fortieth takes longer than a token lives. Every
// tenth is the last of its loop.
func (d *day) messages(ctx context.Context, conn *hubconn.Conn) {
	for n := 1; ctx.Err() == nil; n++ {
		for m, err := range conn.Messages(ctx) {
			if err != nil {
				break
			}
			d.mu.Lock()
			before := d.handled[m.MessageID]
			assert.NotSame(d, before, conn, "message %s again", m.MessageID)
			if before != nil {
				d.again++
			}
			d.mu.Unlock()
			if len(m.Body) > 0 {
				time.Sleep(200 * time.Second)
			} else {
				time.Sleep(time.Second)
			}
			d.mu.Lock()
			d.handled[m.MessageID] = conn
			d.mu.Unlock()
			if n++; n%10 == 0 {
				break
			}
		}
	}
}

// backEnd does what a back end can, every few seconds until ctx ends, and returns how many messages
// the hub took.
func (d *day) backEnd(ctx context.Context) (messages int) {
	var calling sync.WaitGroup
	defer calling.Wait()
	for n := 0; ctx.Err() == nil; n++ {
		d.desire(object{fmt.Sprint("p", n%7): n})
		if n%5 == 0 {
			m := hubtest.C2D{MessageID: fmt.Sprint(n), Expiry: d.network.Now().Add(24 * time.Hour)}
			if n%200 == 100 {
				m.Body = []byte("long")
			}
			if d.hub.SendC2D("dev1", m) == nil {
				messages++
			}
		}
		calling.Go(func() {
			status, payload, err := d.hub.Invoke(
				context.WithoutCancel(ctx), "dev1", "echo", n, hubtest.InvokeOptions{},
			)
			if err == nil {
				d.mu.Lock()
				defer d.mu.Unlock()
				assert.Equal(d, 200, status)
				assert.Equal(d, fmt.Sprint(n), string(payload))
				assert.Equal(d, 1, d.calls[fmt.Sprint(n)])
				d.replies++
			}
		})
		rest(ctx, 2*time.Second)
	}
	return messages
}

func TestEverythingAtOnce(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = 3 * time.Minute
		s.hub.SetUploadTTL(time.Minute)
		s.hub.Inject(hubtest.Fault{On: hubtest.BlobPut, Delay: 10 * time.Second, Times: -1})
		d := &day{stage: s, replica: &replica{stage: s}, ledger: ledger{
			sent: map[string]bool{}, handled: map[string]*hubconn.Conn{}, calls: map[string]int{},
			uploads: map[string][]byte{},
		}}
		living, stop := context.WithCancel(s.Context())
		defer stop()
		working, pause := context.WithTimeout(s.Context(), 20*time.Minute)
		defer pause()
		dials := 0
		var program sync.WaitGroup
		program.Go(func() {
			for living.Err() == nil {
				conn, err := s.dial()
				if err != nil {
					time.Sleep(time.Second)
					continue
				}
				dials++
				d.session(living, conn, uint64(dials))
				_ = conn.Close()
			}
		})
		cuts := 0
		program.Go(func() {
			random := rand.New(rand.NewPCG(1, 2))
			for working.Err() == nil {
				rest(working, time.Duration(60+random.IntN(400))*time.Second)
				if cuts++; cuts%2 == 0 {
					s.network.RefuseFor(host, 20*time.Second)
				}
				s.network.Cut(host)
			}
		})
		messages := d.backEnd(working)
		time.Sleep(30 * time.Minute) // for what is left
		stop()
		program.Wait()
		d.replica.matches()

		got := map[string]bool{}
		for _, m := range s.hub.Messages() {
			got[string(m.Body)] = true
		}
		for id := range d.sent {
			assert.True(s, got[id], "message %s was acknowledged and is not there", id)
		}
		assert.Len(s, d.handled, messages)
		assert.Empty(s, s.counts())
		assert.Len(s, s.delivered(), messages)
		assert.LessOrEqual(s, d.again, 2*dials, "those whose acknowledgement was lost")
		for payload, n := range d.calls {
			assert.Equal(s, 1, n, "call %s", payload)
		}
		twin, _ := s.hub.Twin("dev1")
		assert.GreaterOrEqual(s, twin.Reported["n"], float64(d.reported))
		for name, body := range d.uploads {
			blob, _ := s.hub.Blob(name)
			assert.True(s, bytes.Equal(body, blob), name)
		}
		s.Logf(
			"%d dials, %d links, %d sent, %d messages (%d again), %d replies, %d uploads", dials,
			s.accepted(), len(d.sent), messages, d.again, d.replies, len(d.uploads),
		)
		require.Greater(s, s.accepted(), dials+5, "renewals")
		assert.Greater(s, dials, 3)
		assert.Greater(s, d.replies, 400)
		assert.Greater(s, len(d.sent), 3000)
		assert.Greater(s, len(d.uploads), 5)
	})
}
