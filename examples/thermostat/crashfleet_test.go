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

	"github.com/stretchr/testify/assert"
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
	log   *os.File

	mu        sync.Mutex
	exchanges []*exchange
	starts    []time.Time
	kills     []time.Time // one for each start
	ended     string      // why a process ended that nobody had killed
	soon      chan time.Duration
}

func newFleet(t *testing.T, in *situation, network byte, lag *lagLog) *fleet {
	// All of 127.0.0.0/8 is this machine, but only a socket for any address hears all of it.
	s := newSiteAt(t, simnet.ListenConfig{Addr: "0.0.0.0"}, dpstest.Config{
		RetryAfter: time.Second, RegistrationsPerMinute: -1, PollsPer10s: -1,
	})
	f := &fleet{situation: in, site: s, network: network, lag: lag}
	s.network.Handle(dpstest.GlobalEndpoint, &recorder{s.dps, toDPS, f})
	s.network.Handle(hubA, &recorder{s.a, toHub, f})
	for i := range crashDevices {
		s.enroll(t, crashID(i))
	}
	if in.arrange != nil {
		in.arrange(s)
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
	for i := range crashDevices {
		log, err := os.Create(filepath.Join(s.dir, crashID(i)+".log"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = log.Close() })
		f.boards = append(f.boards, &board{
			fleet: f, index: i, log: log, soon: make(chan time.Duration, 1),
			args: append([]string{
				"-id-scope", s.dps.IDScope(), "-ca", filepath.Join(s.dir, "ca.pem"),
				"-registration-id", crashID(i), "-key", canaryKey, "-interval", "1s", "-store",
				filepath.Join(s.dir, "store-"+crashID(i)), "-connect-to", ":443:ADDRESS:" + https,
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

// live is the life of one process.
func (b *board) live(n int) {
	address := fmt.Sprintf("127.%d.%d.%d", b.fleet.network, b.index, n)
	args := make([]string, len(b.args))
	for i, arg := range b.args {
		args[i] = strings.ReplaceAll(arg, "ADDRESS", address)
	}
	c := exec.Command(program, args...)
	c.Stderr = b.log
	// The system's authorities take longer to read than all the rest of a start.
	c.Env = []string{"SSL_CERT_FILE=" + os.DevNull, "SSL_CERT_DIR=" + b.fleet.site.dir + "/none"}
	select {
	case <-b.soon: // meant for the process before
	default:
	}
	fmt.Fprintf(b.log, "--- process %d starts at %s\n", n, time.Now().Format(logTime))
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
			fmt.Fprintf(b.log, "--- process %d killed at %s\n", n, at.Format(logTime))
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

// begin writes down a request that has arrived at an address.
func (f *fleet) begin(local net.Addr, e *exchange) (process int) {
	ip := local.(*net.TCPAddr).IP.To4()
	b := f.boards[ip[2]]
	b.mu.Lock()
	defer b.mu.Unlock()
	b.exchanges = append(b.exchanges, e)
	return int(ip[3])
}

// answer sends the answer to it, and now and then has the process killed soon after.
func (f *fleet) answer(local net.Addr, e *exchange, send func()) {
	b := f.boards[local.(*net.TCPAddr).IP.To4()[2]]
	b.mu.Lock()
	send()
	b.mu.Unlock()
	if rand.N(killAfterAnswer) == 0 {
		select {
		case b.soon <- readTime + rand.N(readTime):
		default:
		}
	}
}

func (f *fleet) checkSecrets(t *testing.T) {
	for _, b := range f.boards {
		log, err := os.ReadFile(b.log.Name())
		require.NoError(t, err)
		for _, secret := range []string{canaryKey, "SharedAccessSignature"} {
			assert.NotContains(t, string(log), secret)
		}
	}
}
