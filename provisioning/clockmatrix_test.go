// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
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

	"github.com/rehome-iot/rehome/internal/pagepart"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Every kind of wrong clock, at every kind of boot: what it costs, as docs/clock.md shows it.

const (
	clockPage = "../docs/clock.md"
	// clockDial is how long a connection takes in the matrix: what a question costs shows in it.
	clockDial = 200 * time.Millisecond
	// clockExtra is how much later than with a right clock a device may be connected: a hub that
	// turns it away, a question about the time and the hub again are three connections, and DPS may
	// turn it away as well.
	clockExtra = 5 * clockDial
)

// bubbleStart is when every bubble begins, and programBuilt some while before it.
var (
	bubbleStart  = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	programBuilt = bubbleStart.AddDate(0, 0, -30)
)

// clocks are what the system's clock says when the device boots.
var clocks = [...]struct {
	name string
	at   func(now time.Time) time.Time
}{
	{"1970", func(time.Time) time.Time { return time.Unix(0, 0) }},
	{"build − 1 day", func(time.Time) time.Time { return programBuilt.Add(-24 * time.Hour) }},
	{"− 2 h", func(now time.Time) time.Time { return now.Add(-2 * time.Hour) }},
	{"− 6 min", func(now time.Time) time.Time { return now.Add(-6 * time.Minute) }},
	{"right", func(now time.Time) time.Time { return now }},
	{"+ 2 h", func(now time.Time) time.Time { return now.Add(2 * time.Hour) }},
	{"+ 1 year", func(now time.Time) time.Time { return now.AddDate(1, 0, 0) }},
}

const rightClock = 4 // of clocks

// clockStores are what the device remembers, and what a right clock makes it ask DPS for.
var clockStores = [...]struct {
	name                   string
	lookups, registrations int
	prepare                func(r *rig)
}{
	{"no store", 1, 0, func(r *rig) { r.boot(); r.store = nil }},
	{"empty", 0, 1, func(*rig) {}},
	{"warm", 0, 0, func(r *rig) { r.boot() }},
	{"nine days old", 0, 0, func(r *rig) { r.boot(); time.Sleep(9 * 24 * time.Hour) }},
}

// clockCell is what came of one of them.
type clockCell struct {
	after     time.Duration // until it was connected
	questions int           // about the time

	// of DPS: those it has carried out, and those it has refused for a token that was over
	lookups, registrations, refused int
}

func (c clockCell) String() string {
	s := fmt.Sprintf("%.1f s", c.after.Seconds())
	if c.questions > 0 {
		s += fmt.Sprintf(", %d", c.questions)
	}
	return s
}

// clockWirings are the Device as it is without settings, whose cells are in the document, and those
// with a transport of their own.
var clockWirings = []wiring{
	{auto: true}, {auto: true, x509: true}, {}, {ws: true, x509: true}, {dps: dps.MQTT},
	{dps: dps.MQTTWebSocket, ws: true}, {dps: dps.MQTT, x509: true},
}

// clockCells are those of a wiring, by clock and store.
type clockCells [len(clocks)][len(clockStores)]clockCell

func TestNoWrongClockKeepsADeviceFromItsHubOrMakesItRegister(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	tables := playClocks(t, clockWirings)
	for _, w := range clockWirings[:2] {
		table := clockTable(w, tables[w])
		t.Logf("%s:\n%s", w, table)
		pagepart.Compare(t, clockPage, "a device with "+w.credentialName(), table)
	}
}

// A program that does not know when it was built has one bound less, and finds the time all the
// same.
func TestNoWrongClockMattersToAProgramWithoutABuildTime(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(time.Time{}))
	playClocks(t, clockWirings[:2])
}

// playClocks plays every cell and checks them.
func playClocks(t *testing.T, wirings []wiring) map[wiring]clockCells {
	var mu sync.Mutex
	tables := map[wiring]clockCells{}
	t.Run("cells", func(t *testing.T) {
		for _, w := range wirings {
			for row, clock := range clocks {
				for column, store := range clockStores {
					t.Run(w.String()+","+clock.name+","+store.name, func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							cell := playClock(t, w, clock.at, store.prepare)
							mu.Lock()
							defer mu.Unlock()
							table := tables[w]
							table[row][column] = cell
							tables[w] = table
						})
					})
				}
			}
		}
	})
	for w, table := range tables {
		for row, clock := range clocks {
			for column, store := range clockStores {
				name := w.String() + ", " + clock.name + ", " + store.name
				cell, right := table[row][column], table[rightClock][column]
				assert.LessOrEqual(t, cell.after, right.after+clockExtra, name)
				assert.LessOrEqual(t, cell.questions, 1, name)
				assert.Equal(t, store.lookups, cell.lookups, name)
				assert.Equal(t, store.registrations, cell.registrations, name)
				assert.LessOrEqual(t, cell.refused, min(1, cell.lookups+cell.registrations), name)
			}
		}
		for column, store := range clockStores {
			assert.Zero(t, table[rightClock][column].questions,
				"a right clock is not doubted: %s, %s", w, store.name)
		}
	}
	return tables
}

// credentialName is what the document calls the credential of a wiring.
func (w wiring) credentialName() string {
	if w.x509 {
		return "X.509"
	}
	return "SAS"
}

// clockTable is a table of the document.
func clockTable(w wiring, cells clockCells) string {
	lines := []string{"| " + w.credentialName(), "| ---"}
	for _, store := range clockStores {
		lines[0] += " | " + store.name
		lines[1] += " | ---"
	}
	for row, clock := range clocks {
		line := "| " + clock.name
		for _, cell := range cells[row] {
			line += " | " + cell.String()
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, " |\n") + " |\n"
}

// playClock boots a device and has it work for longer than a token lives.
func playClock(
	t *testing.T, w wiring, at func(now time.Time) time.Time, prepare func(*rig),
) clockCell {
	r := newRig(t, w)
	defer func() { require.NoError(t, r.network.Close()) }()
	prepare(r)
	r.reset()
	dev := r.device()
	stoppedClock(dev, at(time.Now()))
	distant(dev)
	stop := r.run(dev)
	defer stop()
	cell := clockCell{after: r.await(0, 5*time.Minute).at}
	time.Sleep(2 * time.Hour)
	require.Len(t, r.seen(), 1, "it stays connected, with new tokens")
	for _, q := range r.dps.Requests() {
		switch refused := q.Status == http.StatusUnauthorized || q.ReturnCode != 0; {
		case q.Op == dpstest.Clock:
			cell.questions++
		case refused:
			cell.refused++
		case q.Op == dpstest.Lookup:
			cell.lookups++
		case q.Op == dpstest.Register:
			cell.registrations++
		}
	}
	return cell
}

// distant makes each connection take its time.
func distant(dev *provisioning.Device) {
	dial := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		time.Sleep(clockDial)
		return dial(ctx, network, address)
	}
}
