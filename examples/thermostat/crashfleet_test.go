// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Every process connects to an address of its own: 127.situation.device.process. So a service knows
// who is there even when nothing but a failed handshake has come, and no request is taken for one
// of the next process because it was read late.
const (
	firstNetwork = 16
	lastProcess  = 250

	// First starts are spread over so long: each makes a directory and stores an assignment.
	firstStarts = 12 * time.Second
)

func crashID(device int) string { return fmt.Sprintf("board-%02d", device) }

// fleet is the devices that are in one situation.
type fleet struct {
	*situation
	site    *site
	network byte
	boards  []*board
	lag     *lagLog
	kills   atomic.Int64
}

// board is one device.
type board struct {
	fleet *fleet
	index int
	args  []string
	store string
	log   *os.File
	said  [][]sentence // by its processes, once it is judged

	mu        sync.Mutex
	exchanges []*exchange
	starts    []time.Time
	kills     []time.Time // one for each start
	ended     string      // why a process ended that nobody had killed
	soon      chan time.Duration
}

// newFleet makes so many devices, whose files are in a directory.
func newFleet(
	t *testing.T, in *situation, network byte, devices int, dirs *crashDirs, lag *lagLog,
) *fleet {
	// All of 127.0.0.0/8 is this machine, but only a socket for any address hears all of it.
	s := newSiteAt(t, simnet.ListenConfig{Addr: "0.0.0.0"}, dpstest.Config{
		RetryAfter: pollTime, RegistrationsPerMinute: -1, PollsPer10s: -1,
	})
	f := &fleet{situation: in, site: s, network: network, lag: lag}
	s.network.Handle(dpstest.GlobalEndpoint, &recorder{s.dps, toDPS, f})
	s.network.Handle(hubA, &recorder{s.a, toHub, f})
	for i := range devices {
		s.enroll(t, crashID(i))
	}
	if in.arrange != nil {
		in.arrange(s, devices)
	}
	_, https, _ := net.SplitHostPort(s.network.HTTPSAddr())
	_, mqtt, _ := net.SplitHostPort(s.network.MQTTAddr())
	if in.untrusted {
		l, err := net.Listen("tcp4", "0.0.0.0:0")
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		go f.serveUntrusted(l, simnet.NewCA("Unknown Root", time.Now()).Server(hubA))
		_, mqtt, _ = net.SplitHostPort(l.Addr().String())
	}
	for i := range devices {
		name := fmt.Sprintf("%d-%s", network, crashID(i))
		log, err := os.Create(filepath.Join(dirs.logs, name+".log"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = log.Close() })
		store := filepath.Join(dirs.stores, name)
		f.boards = append(f.boards, &board{
			fleet: f, index: i, log: log, store: store, soon: make(chan time.Duration, 1),
			args: append([]string{
				"-id-scope", s.dps.IDScope(), "-ca", filepath.Join(s.dir, "ca.pem"),
				"-registration-id", crashID(i), "-key", canaryKey, "-interval", "1s",
				"-store", store, "-connect-to", ":443:ADDRESS:" + https,
				"-connect-to", ":8883:ADDRESS:" + mqtt,
				// each service by the one port that the situation is about
				"-transport", "https", "-hub-transport", "mqtt",
			}, in.flags...),
		})
	}
	return f
}

// run kills and starts the processes of all devices until there is enough of it.
func (f *fleet) run(began time.Time) {
	enough := func() bool {
		ran := time.Since(began)
		return ran > crashTime && f.kills.Load() >= crashKills || ran > crashLimit
	}
	var running sync.WaitGroup
	for _, b := range f.boards {
		running.Go(func() {
			time.Sleep(rand.N(firstStarts))
			for n := 0; n <= lastProcess && b.ended == "" && !enough(); n++ {
				b.live(n)
			}
		})
	}
	running.Wait()
}

// command is the n-th process of a device. It writes its log to the file, so that what a killed
// process has said is there.
func (b *board) command(n int) *exec.Cmd {
	address := fmt.Sprintf("127.%d.%d.%d", b.fleet.network, b.index, n)
	args := make([]string, len(b.args))
	for i, arg := range b.args {
		args[i] = strings.ReplaceAll(arg, "ADDRESS", address)
	}
	c := exec.Command(program, args...)
	c.Stderr = b.log
	// The system's authorities take longer to read than all the rest of a start.
	c.Env = []string{"SSL_CERT_FILE=" + os.DevNull, "SSL_CERT_DIR=" + b.fleet.site.dir + "/none"}
	return c
}

// live is the life of one process.
func (b *board) live(n int) {
	c := b.command(n)
	select {
	case <-b.soon: // meant for the process before
	default:
	}
	// On a line of its own, whatever the process before was writing when it was killed.
	fmt.Fprintf(b.log, "\n"+processStarts, n, time.Now().Format(logTime))
	b.mu.Lock()
	b.starts = append(b.starts, time.Now())
	b.mu.Unlock()
	if err := c.Start(); err != nil {
		b.end(n, time.Now(), err.Error())
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	// A machine that is too slow for so many starts is given fewer: what stands still all the time
	// asks nobody, and shows nothing.
	life := shortestLife + rand.N(longestLife-shortestLife)
	death := time.NewTimer(time.Duration((1 + b.fleet.lag.share(time.Now())) * float64(life)))
	defer death.Stop()
	for {
		select {
		case in := <-b.soon:
			death.Reset(in)
		case err := <-ended:
			b.end(n, time.Now(), fmt.Sprintf("process %d ended by itself: %v", n, err))
			return
		case <-death.C:
			at := time.Now()
			_ = c.Process.Kill()
			<-ended
			b.end(n, at, "")
			b.fleet.kills.Add(1)
			return
		}
	}
}

const logTime = "15:04:05.000"

func (b *board) end(n int, at time.Time, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kills = append(b.kills, at)
	b.ended = why
}

// board is the device whose process has connected to an address; nil for a stranger, since anybody
// on this machine may.
func (f *fleet) board(local net.Addr) (b *board, process int) {
	at, ok := local.(*net.TCPAddr)
	if !ok {
		return nil, 0
	}
	ip := at.IP.To4()
	if ip == nil || ip[0] != 127 || ip[1] != f.network || int(ip[2]) >= len(f.boards) {
		return nil, 0
	}
	return f.boards[ip[2]], int(ip[3])
}

// begin writes down a request that has arrived at an address.
func (f *fleet) begin(local net.Addr, e *exchange) {
	b, process := f.board(local)
	if b == nil {
		return
	}
	e.process = process
	b.mu.Lock()
	defer b.mu.Unlock()
	b.exchanges = append(b.exchanges, e)
}

// answer sends the answer to it, and now and then has the process killed soon after.
func (f *fleet) answer(local net.Addr, send func()) {
	b, _ := f.board(local)
	if b == nil {
		send()
		return
	}
	b.mu.Lock()
	send()
	b.mu.Unlock()
	in := rand.N(soonTime)
	switch rand.N(killAfterAnswer) {
	case 0: // while the device takes it in, or just after it has
	case 1: // or when it must have
		in += lifeTime
	default:
		return
	}
	select {
	case b.soon <- in:
	default:
	}
}
