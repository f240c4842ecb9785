// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

const (
	killedFile = "OUTBOX_TEST_KILLED_FILE"
	killedNext = "OUTBOX_TEST_KILLED_NEXT"
	killedKey  = "b3V0Ym94IHRlc3Qga2V5IG9mIDMyIGJ5dGVzIC4uLiE="
	killedHost = "contoso.azure-devices.net"
)

// TestKilledProgram is what the other test kills. It keeps numbered telemetry and alarms, says so,
// and delivers all the while.
func TestKilledProgram(t *testing.T) {
	path := os.Getenv(killedFile)
	if path == "" {
		t.Skip("runs in a process of its own")
	}
	var next int
	_, err := fmt.Sscan(os.Getenv(killedNext), &next)
	require.NoError(t, err)
	sim, err := simdial.FromEnv()
	require.NoError(t, err)
	f := open(t, path, Options{Interval: 5 * time.Millisecond})
	box := boxOf(t, f)
	var all sync.WaitGroup
	all.Go(func() { deliverForEver(sim, box) })
	var number atomic.Int64
	number.Store(int64(next))
	// One goroutine a lane: the order in which Send is called is the order that is promised.
	var out sync.Mutex
	type keeper func(context.Context, ...hubconn.Message) error
	for l, keep := range []keeper{box.SendAlarm, box.Send} {
		all.Go(func() {
			for {
				var messages []hubconn.Message
				var names []string
				for range 1 + rand.IntN(20*l+1) {
					name := fmt.Sprintf("%d/%08d", l, number.Add(1))
					names = append(names, name)
					messages = append(messages, hubconn.Message{
						Body: []byte(name + strings.Repeat(" body", 35)),
					})
				}
				if err := keep(t.Context(), messages...); err != nil {
					t.Error(err)
					return
				}
				out.Lock()
				for _, name := range names {
					fmt.Println("kept", name)
				}
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// deliverForEver connects again at once, as often as it has to.
func deliverForEver(sim simdial.Simulator, box *Outbox) {
	dialer := &hubconn.Dialer{DialContext: sim.DialContext, TLSConfig: sim.TLSConfig}
	at := hubconn.Hub{Host: killedHost, DeviceID: device}
	for {
		conn, err := dialer.Dial(context.Background(), at, dps.SymmetricKey{
			ID: device, Key: killedKey,
		})
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		_ = box.Deliver(context.Background(), conn)
		_ = conn.Close()
	}
}

// However often the process is killed, the hub sees every message that was kept, each lane in its
// order; some of them twice.
func TestAKillLosesNoMessageAndNoOrder(t *testing.T) {
	kills := 8
	if os.Getenv("REHOME_TESTS") == "kills" {
		kills = 1000
	}
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, network.Close()) })
	hub := hubtest.NewHub(network, killedHost)
	require.NoError(t, hub.Put(hubtest.Device{ID: device, PrimaryKey: killedKey}))
	dir := t.TempDir()
	authority, path := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "outbox.db")
	require.NoError(t, os.WriteFile(authority, network.CA().PEM(), 0o600))
	ready := fmt.Sprintf(
		`{"https":%q,"mqtt":%q,"ca":%q}`, network.HTTPSAddr(), network.MQTTAddr(), authority,
	)
	t.Setenv(simdial.Variable, ready)

	var kept [lanes][]string
	arrived := map[string]string{} // IDs of the messages that the hub has had
	var order [lanes][]string      // of their first arrivals
	duplicates, position, next := 0, 0, 0
	collect := func() {
		var messages []hubtest.Message
		messages, position = hub.MessagesFrom(position)
		for _, m := range messages {
			name, rest, _ := strings.Cut(string(m.Body), " ")
			require.Equal(t, strings.Repeat("body ", 34)+"body", rest, "torn")
			var l, n int
			_, err := fmt.Sscanf(name, "%d/%d", &l, &n)
			require.NoError(t, err)
			next = max(next, n)
			if id, twice := arrived[name]; twice {
				require.Equal(t, id, m.System["$.mid"], "another ID at the second delivery")
				duplicates++
				continue
			}
			arrived[name] = m.System["$.mid"]
			order[l] = append(order[l], name)
		}
	}
	for range kills {
		command := exec.Command(os.Args[0], "-test.run=^TestKilledProgram$")
		command.Env = append(
			os.Environ(), killedFile+"="+path, fmt.Sprintf("%s=%d", killedNext, next),
		)
		out, err := command.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, command.Start())
		kill := time.AfterFunc(rand.N(300*time.Millisecond), func() { _ = command.Process.Kill() })
		lines := bufio.NewScanner(out)
		var said []string
		for lines.Scan() {
			if name, ok := strings.CutPrefix(lines.Text(), "kept "); ok && len(name) == 10 {
				var l, n int
				_, err := fmt.Sscanf(name, "%d/%d", &l, &n)
				require.NoError(t, err)
				kept[l] = append(kept[l], name)
				next = max(next, n)
			} else {
				said = append(said, lines.Text())
			}
		}
		require.Error(t, command.Wait(), "it ended by itself")
		if kill.Stop() {
			require.Fail(t, "it ended by itself", "%s", said)
		}
		// Numbers that were given and not reported stay behind.
		next += 1000
		collect()
	}
	// What is left is delivered by a process that is let live.
	f := open(t, path, quickly)
	box := boxOf(t, f)
	sim, err := simdial.FromEnv()
	require.NoError(t, err)
	go deliverForEver(sim, box)
	eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
	collect()

	total := 0
	for l := range order {
		assert.True(t, slices.IsSorted(order[l]), "lane %d is out of order", l)
		for _, name := range kept[l] {
			if arrived[name] == "" {
				t.Errorf("%s is lost", name)
			}
		}
		total += len(kept[l])
	}
	require.NotZero(t, total)
	t.Logf("%d kills: %d messages kept, %d arrived, %d duplicates, 0 lost, 0 out of order, 0 torn",
		kills, total, len(arrived), duplicates)
}
