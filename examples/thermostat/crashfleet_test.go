//go:build linux

package main_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
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
	pulse   *pulse
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

func newFleet(t *testing.T, in *situation, network byte, p *pulse) *fleet {
	// All of 127.0.0.0/8 is this machine, but only a socket for any address hears all of it.
	s := newSiteAt(t, simnet.ListenConfig{Addr: "0.0.0.0"}, dpstest.Config{
		Polls: 1, RetryAfter: time.Second, RegistrationsPerMinute: -1, PollsPer10s: -1,
	})
	f := &fleet{situation: in, site: s, network: network, pulse: p}
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
	death := time.NewTimer(shortestLife + rand.N(longestLife-shortestLife))
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
		case b.soon <- takenIn + rand.N(takenIn):
		default:
		}
	}
}

// verdict is what has become of a fleet.
type verdict struct {
	kills, dps, hub, registrations, unheard, early int

	shortest map[time.Duration]time.Duration // by what was asked
	drawn    string                          // the moments, with Stagger
	traces   []string                        // of devices that were early
	problems []string
}

func (f *fleet) judge() *verdict {
	v := &verdict{shortest: map[time.Duration]time.Duration{}}
	var draws []time.Duration
	for _, b := range f.boards {
		b.mu.Lock()
		v.judge(b)
		if f.staggered && len(b.exchanges) > 0 {
			draws = append(draws, b.exchanges[0].at.Sub(b.starts[0]))
		}
		b.mu.Unlock()
	}
	if f.staggered {
		v.judgeDraws(draws)
	}
	return v
}

func (v *verdict) judge(b *board) {
	f := b.fleet
	v.kills += len(b.kills)
	if b.ended != "" {
		v.problems = append(v.problems, crashID(b.index)+": "+b.ended)
	}
	slices.SortStableFunc(b.exchanges, func(x, y *exchange) int { return x.at.Compare(y.at) })
	early, asked := map[*exchange]demand{}, 0
	for i, e := range b.exchanges {
		if e.service == f.service {
			asked++
		}
		switch {
		case e.service == toHub:
			v.hub++
		case e.kind == "register":
			v.registrations++
			fallthrough
		default:
			v.dps++
		}
		if !b.heard(e) {
			v.unheard++
		}
		d := b.demandFor(b.exchanges[:i], e)
		if d.asked == 0 {
			continue
		}
		distance := e.at.Sub(d.since)
		if least, ok := v.shortest[d.asked]; !ok || distance < least {
			v.shortest[d.asked] = distance
		}
		if distance < d.asked {
			early[e] = d
		}
	}
	if len(early) > 0 {
		v.early += len(early)
		v.traces = append(v.traces, b.trace(early))
	}
	if asked < f.least {
		v.problems = append(v.problems, fmt.Sprintf("%s has asked %d times, not %d",
			crashID(b.index), asked, f.least))
	}
}

// heard says that a process has received an answer.
func (b *board) heard(e *exchange) bool {
	needs := takenIn
	if e.assigned {
		needs = storedIn
	}
	return !e.sent.IsZero() && e.process < len(b.kills) &&
		b.fleet.pulse.between(e.done, b.kills[e.process]) >= needs
}

// demandFor is what the answers that a device has received before a request ask for.
func (b *board) demandFor(before []*exchange, next *exchange) demand {
	var heard []*exchange
	for _, e := range before {
		if b.heard(e) && e.sent.Before(next.at) {
			heard = append(heard, e)
		}
	}
	demands := []demand{retryAfter(heard, next), b.sameOperation(before, next)}
	if b.fleet.asked != nil {
		demands = append(demands, b.fleet.asked(heard, next))
	}
	return slices.MaxFunc(demands, func(x, y demand) int { return x.until().Compare(y.until()) })
}

// judgeDraws: the moment that a device has drawn is kept, so that all of them have registered by
// the end of the window, and not all of them at its beginning.
func (v *verdict) judgeDraws(draws []time.Duration) {
	if len(draws) < crashDevices {
		return // which is a problem already
	}
	slices.Sort(draws)
	first, middle, last := draws[0], draws[len(draws)/2], draws[len(draws)-1]
	v.drawn = fmt.Sprintf("drawn from %v: first %.1f s, middle %.1f s, last %.1f s", crashStagger,
		first.Seconds(), middle.Seconds(), last.Seconds())
	if last > crashStagger+longestLife || middle < crashStagger/5 || middle > crashStagger*4/5 {
		v.problems = append(v.problems, v.drawn)
	}
}

func (v *verdict) row(f *fleet) string {
	var distances []string
	for _, asked := range slices.Sorted(maps.Keys(v.shortest)) {
		distances = append(distances, fmt.Sprintf("%v: %.3f s", asked, v.shortest[asked].Seconds()))
	}
	if v.drawn != "" {
		distances = append(distances, v.drawn)
	}
	return fmt.Sprintf("%-34s %7d %6d %6d %6d %8d %7d %6d  %s", f.name, len(f.boards), v.kills,
		v.dps, v.hub, v.registrations, v.unheard, v.early, strings.Join(distances, ", "))
}

// trace tells the life of a device: requests, answers, kills.
func (b *board) trace(early map[*exchange]demand) string {
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for n, at := range b.starts {
		lines = append(lines, line{at, fmt.Sprintf("process %d starts", n)})
	}
	for n, at := range b.kills {
		lines = append(lines, line{at, fmt.Sprintf("process %d is killed", n)})
	}
	for _, e := range b.exchanges {
		text := fmt.Sprintf("process %d asks %s: %s %s", e.process, e.service, e.kind, e.operation)
		if d, ok := early[e]; ok {
			text += fmt.Sprintf("  EARLY: %v after what asked for %v at %s", e.at.Sub(d.since),
				d.asked, d.since.Format(logTime))
		}
		lines = append(lines, line{e.at, text})
		if e.sent.IsZero() {
			continue
		}
		lines = append(lines, line{e.sent, fmt.Sprintf("  answer to process %d: %s %s %d, "+
			"Retry-After %v, operation %q, heard %v", e.process, e.service, e.kind, e.status,
			e.retryAfter, e.operation, b.heard(e))})
	}
	slices.SortStableFunc(lines, func(x, y line) int { return x.at.Compare(y.at) })
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s was early:\n", b.fleet.name, crashID(b.index))
	for _, l := range lines {
		fmt.Fprintf(&out, "%s %s\n", l.at.Format(logTime), l.text)
	}
	log, _ := os.ReadFile(b.log.Name())
	fmt.Fprintf(&out, "its log:\n%s", log)
	return out.String()
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
