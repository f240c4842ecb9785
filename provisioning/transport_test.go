package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Networks that let one port through and not the other, and a device that may use either.

// way is the state of one port on the way to a service.
type way string

const (
	wayOpen      way = "open"
	wayRefused   way = "refused"
	wayDropped   way = "dropped"
	wayReset     way = "reset"
	wayPortal    way = "portal" // somebody else's certificate
	firstTry         = 15 * time.Second
	daily            = 24 * time.Hour
	switchedLine     = "transport switched"
)

var ways = []way{wayOpen, wayRefused, wayDropped, wayReset, wayPortal}

// ways sets both ports of a host.
func (r *rig) ways(host string, https, mqtt way) {
	for port, w := range map[simnet.Port]way{simnet.PortHTTPS: https, simnet.PortMQTT: mqtt} {
		r.network.SetPortFault(host, port, map[way]simnet.Fault{
			wayRefused: simnet.Refused, wayDropped: simnet.Blackhole,
			wayReset: simnet.ResetOnAccept,
		}[w])
		kind := simnet.Valid
		if w == wayPortal {
			kind = simnet.UnknownCA
		}
		r.network.SetPortCertificate(host, port, kind)
	}
}

// portDials counts dials to both ports of a host, from its making.
type portDials struct {
	r           *rig
	host        string
	https, mqtt int
}

func (r *rig) countDials(host string) *portDials {
	return &portDials{
		r, host, r.network.PortDials(host, simnet.PortHTTPS),
		r.network.PortDials(host, simnet.PortMQTT),
	}
}

func (d *portDials) require(https, mqtt int, what ...any) {
	d.r.t.Helper()
	now := d.r.countDials(d.host)
	require.Equal(
		d.r.t, [2]int{https, mqtt}, [2]int{now.https - d.https, now.mqtt - d.mqtt}, what...,
	)
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }

// eachPair runs f for each state of both ports, with the transports left open.
func eachPair(t *testing.T, w wiring, f func(t *testing.T, r *rig, https, mqtt way)) {
	for i, https := range ways {
		for j, mqtt := range ways {
			if testing.Short() && (i+j)%3 != 0 {
				continue
			}
			t.Run("443 "+string(https)+", 8883 "+string(mqtt), func(t *testing.T) {
				each(t, []wiring{w}, func(t *testing.T, r *rig) { f(t, r, https, mqtt) })
			})
		}
	}
}

// within is how long a device may take that has to give up the first of two ports.
func within(first way) time.Duration {
	if first == wayDropped {
		return firstTry
	}
	return 0
}

func TestTheHubIsReachedOverThePortThatIsOpen(t *testing.T) {
	eachPair(t, wiring{auto: true}, func(t *testing.T, r *rig, https, mqtt way) {
		r.ways(hubA, https, mqtt)
		if https != wayOpen && mqtt != wayOpen {
			r.noWayToTheHub(https, mqtt)
			return
		}
		dials := r.countDials(hubA)
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		want, first := hubconn.MQTT, time.Duration(0)
		if mqtt != wayOpen {
			want, first = hubconn.MQTTWebSocket, within(mqtt)
		}
		between(t, first, first+7*time.Second, s.at)
		require.Equal(t, want, dev.Status().HubTransport)
		require.Equal(t, want.String(), r.a.Attempts()[0].Transport)
		stop()

		switches := 0
		if want == hubconn.MQTTWebSocket {
			switches = 1
			require.Contains(t, out.String(), "from=mqtt to=ws")
		}
		dials.require(switches, 1)
		require.Equal(t, switches, out.count(switchedLine), out.String())
		r.reset()

		dials = r.countDials(hubA)
		for range 3 { // the next boots begin with what worked, at once
			r.reset()
			dev := r.device()
			out := logged(dev)
			stop := r.run(dev)
			require.Less(t, r.await(0, time.Minute).at, time.Second)
			require.Equal(t, want, dev.Status().HubTransport)
			stop()
			require.Zero(t, out.count(switchedLine))
		}
		dials.require(3*switches, 3*(1-switches))
		require.Zero(t, r.asked())
	})
}

// noWayToTheHub: one attempt is a try over each transport, and the next has its distance.
func (r *rig) noWayToTheHub(https, mqtt way) {
	dev := r.device()
	attempts, dials := (&attemptLog{}).watch(r, dev), r.countDials(hubA)
	out := logged(dev)
	stop := r.run(dev)
	time.Sleep(10 * time.Minute)
	floor := 5 * time.Second
	class := hubconn.Unreachable
	if https == wayPortal || mqtt == wayPortal {
		floor, class = time.Minute, hubconn.Untrusted
	}
	require.Equal(r.t, class, dev.Status().Class)
	stop()
	starts, ends := attempts.of(hubA+":8883"), attempts.of(hubA+":443")
	require.InDelta(r.t, len(starts), len(ends), 1, "the last one may have been cut short")
	require.GreaterOrEqual(r.t, len(ends), 3)
	for i := range len(starts) - 1 {
		require.GreaterOrEqual(r.t, starts[i+1].began-ends[i].ended, floor, "attempt %d", i+2)
		require.Less(r.t, ends[i].began-starts[i].began, 31*time.Second)
	}
	now := r.countDials(hubA)
	require.InDelta(r.t, now.https-dials.https, now.mqtt-dials.mqtt, 1)
	require.Zero(r.t, out.count(switchedLine))
	require.Empty(r.t, r.seen())

	r.ways(hubA, wayOpen, wayDropped)
	stop = r.run(r.device())
	r.await(0, 10*time.Minute)
	stop()
}

// attemptLog is when each address was dialled.
type attemptLog struct {
	mu  sync.Mutex
	all map[string][]dialled
}

type dialled struct{ began, ended time.Duration }

func (l *attemptLog) watch(r *rig, dev *provisioning.Device) *attemptLog {
	open := dev.DialContext
	l.all = map[string][]dialled{}
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := dialled{began: r.elapsed()}
		nc, err := open(ctx, network, address)
		d.ended = r.elapsed()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all[address] = append(l.all[address], d)
		return nc, err
	}
	return l
}

func (l *attemptLog) of(address string) []dialled {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]dialled(nil), l.all[address]...)
}

func TestDPSIsReachedOverThePortThatIsOpen(t *testing.T) {
	// with a certificate no rejection is blamed on the clock, which HTTPS alone tells
	eachPair(t, wiring{auto: true, x509: true}, func(t *testing.T, r *rig, https, mqtt way) {
		r.ways(dps.DefaultEndpoint, https, mqtt)
		dials := r.countDials(dps.DefaultEndpoint)
		dev := r.device()
		out := logged(dev)
		if https != wayOpen && mqtt != wayOpen {
			stop := r.run(dev)
			time.Sleep(10 * time.Minute)
			require.Equal(t, "dps", strings.SplitN(dev.Status().Err.Error(), ":", 2)[0])
			stop()
			require.Zero(t, out.count(switchedLine))
			require.Zero(t, r.asked())
			now := r.countDials(dps.DefaultEndpoint)
			require.GreaterOrEqual(t, now.mqtt-dials.mqtt, 3)
			// each once an attempt, the last of which may have been cut short
			require.InDelta(t, now.https-dials.https, now.mqtt-dials.mqtt, 1)
			r.ways(dps.DefaultEndpoint, wayDropped, wayOpen)
			stop = r.run(r.device())
			r.await(0, 15*time.Minute)
			stop()
			return
		}
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		want, switches, first := dps.HTTPS, 0, time.Duration(0)
		if https != wayOpen {
			want, switches, first = dps.MQTT, 1, within(https)
		}
		between(t, first, first+10*time.Second, s.at)
		require.Equal(t, want, dev.Status().DPSTransport)
		stop()
		require.Equal(t, switches, out.count(switchedLine), out.String())
		dials.require(1, switches)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Equal(t, want.String(), r.dps.Requests()[0].Transport)

		// the next boot that has to register begins with what worked
		r.reset()
		dials = r.countDials(dps.DefaultEndpoint)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		dev = r.device()
		out = logged(dev)
		stop = r.run(dev)
		r.await(0, time.Minute)
		stop()
		dials.require(1-switches, switches)
		require.Zero(t, out.count(switchedLine))
	})
}

func TestThePreferredTransportIsTriedAgainAfterADay(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(hubA, wayOpen, wayDropped)
		r.boot()
		boot := func(after time.Duration) (*provisioning.Device, *lines, sessionSeen) {
			time.Sleep(after)
			r.reset()
			dev := r.device()
			out := logged(dev)
			stop := r.run(dev)
			s := r.await(0, time.Minute)
			stop()
			return dev, out, s
		}
		dials := r.countDials(hubA)
		for range 12 {
			_, _, s := boot(time.Hour)
			require.Less(t, s.at, time.Second)
		}
		dials.require(12, 0)

		dials = r.countDials(hubA)
		_, out, s := boot(12 * time.Hour)
		between(t, firstTry, firstTry+time.Second, s.at, "still closed")
		require.Zero(t, out.count(switchedLine), "nothing has changed")
		_, _, s = boot(time.Hour)
		require.Less(t, s.at, time.Second, "and is not tried again for another day")
		dials.require(2, 1)

		r.ways(hubA, wayOpen, wayOpen)
		dev, _, _ := boot(time.Hour)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		dev, out, _ = boot(daily)
		require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
		require.Equal(t, 1, out.count(switchedLine))
		require.Contains(t, out.String(), "from=ws to=mqtt")
		dials = r.countDials(hubA)
		boot(time.Hour)
		dials.require(0, 1)
	})
}

// What is remembered costs the flash nothing that a first boot does not write anyway, and then a
// write a day at the most.
func TestWhatWorkedIsStoredWithTheAssignment(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		puts := func(after time.Duration) int {
			time.Sleep(after)
			store := &countingStore{Store: r.store}
			r.reset()
			dev := r.device()
			dev.Store = store
			stop := r.run(dev)
			r.await(0, time.Minute)
			time.Sleep(time.Minute)
			stop()
			return store.puts
		}
		r.ways(hubA, wayOpen, wayDropped)
		r.ways(dps.DefaultEndpoint, wayDropped, wayOpen)
		require.Equal(t, 2, puts(0), "a candidate, and that it is confirmed")
		for range 3 {
			require.Zero(t, puts(time.Hour))
		}
		require.Equal(t, 1, puts(daily))
		require.Zero(t, puts(time.Hour))
		entry, err := r.store.Get(t.Context(), rigID)
		require.NoError(t, err)
		require.LessOrEqual(t, len(entry), 512)
	})
}

func TestWithoutAStoreTheProcessRemembersWhatWorked(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(hubA, wayOpen, wayDropped)
		r.ways(dps.DefaultEndpoint, wayOpen, wayOpen)
		dev := r.device()
		dev.Store = nil
		dials := r.countDials(hubA)
		stop := r.run(dev)
		for n := range 3 {
			r.await(n, time.Minute)
			time.Sleep(time.Minute)
			r.network.Cut(hubA)
		}
		r.await(3, time.Minute)
		stop()
		dials.require(4, 1)
	})
}

func TestTransportsThatAreNamedAreTheOnlyOnes(t *testing.T) {
	for name, c := range map[string]struct {
		wiring      wiring
		https, mqtt way
	}{
		"mqtt": {wiring{}, wayOpen, wayDropped},
		"ws":   {wiring{ws: true}, wayRefused, wayOpen},
	} {
		t.Run("hub "+name, func(t *testing.T) {
			each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
				r.boot()
				r.ways(hubA, c.https, c.mqtt)
				dials := r.countDials(hubA)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Empty(t, r.seen())
				now := r.countDials(hubA)
				if c.mqtt == wayOpen {
					require.Equal(t, dials.mqtt, now.mqtt)
				} else {
					require.Equal(t, dials.https, now.https)
				}
			})
		})
	}
	t.Run("dps by a port", func(t *testing.T) {
		each(t, autoWiring, func(t *testing.T, r *rig) {
			r.ways(dps.DefaultEndpoint, wayRefused, wayOpen)
			dev := r.device()
			dev.Endpoint = dps.DefaultEndpoint + ":443"
			dials := (&attemptLog{}).watch(r, dev)
			stop := r.run(dev)
			time.Sleep(10 * time.Minute)
			stop()
			at := dials.of(dev.Endpoint)
			require.Greater(t, len(at), 2)
			for i := range at[1:] {
				require.GreaterOrEqual(t, at[i+1].began-at[i].ended, 5*time.Second)
			}
			require.Zero(t, r.network.PortDials(dps.DefaultEndpoint, simnet.PortMQTT))
		})
	})
	for name, c := range map[string]struct {
		wiring      wiring
		https, mqtt way
	}{
		"https": {wiring{}, wayDropped, wayOpen},
		"mqtt":  {wiring{dps: dps.MQTT}, wayOpen, wayRefused},
		"ws":    {wiring{dps: dps.MQTTWebSocket}, wayReset, wayOpen},
	} {
		t.Run("dps "+name, func(t *testing.T) {
			each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
				r.ways(dps.DefaultEndpoint, c.https, c.mqtt)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Zero(t, r.asked())
				require.Empty(t, r.seen())
			})
		})
	}
}

func TestAnAnswerOfTheHubEndsTheAttempt(t *testing.T) {
	for name, f := range map[string]hubtest.Fault{
		"CONNACK 1":         {On: hubtest.Connect, ReturnCode: 1},
		"CONNACK 3":         {On: hubtest.Connect, ReturnCode: 3},
		"CONNACK 5":         {On: hubtest.Connect, ReturnCode: 5},
		"CONNACK 5, late":   {On: hubtest.Connect, ReturnCode: 5, Delay: time.Minute},
		"no CONNACK":        {On: hubtest.Connect, NoAnswer: true},
		"cut after CONNECT": {On: hubtest.Connect, Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				r.a.Inject(f)
				dials := r.countDials(hubA)
				stop := r.run(dev)
				r.await(0, 3*time.Hour)
				require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
				stop()
				dials.require(0, len(r.a.Attempts()))
			})
		})
	}
	for name, f := range map[string]hubtest.Fault{
		"upgrade 429": {On: hubtest.Upgrade, Status: 429, ErrorCode: "ThrottlingException"},
		"upgrade 503": {On: hubtest.Upgrade, Status: 503},
		"upgrade 401": {On: hubtest.Upgrade, Status: 401, ErrorCode: "IotHubUnauthorized"},
		"no answer":   {On: hubtest.Upgrade, NoAnswer: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				r.ways(hubA, wayOpen, wayDropped)
				r.boot()
				r.ways(hubA, wayOpen, wayOpen)
				r.a.Inject(f)
				dials := r.countDials(hubA)
				dev := r.device()
				stop := r.run(dev)
				r.await(0, time.Hour)
				require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
				stop()
				dials.require(2, 0)
			})
		})
	}
}

func TestAnAnswerOfDPSEndsTheRequest(t *testing.T) {
	for name, f := range map[string]dpstest.Fault{
		"401":          {On: dpstest.Register, Code: 401002},
		"403":          {On: dpstest.Register, Code: 403003},
		"409":          {On: dpstest.Register, Code: 409203},
		"429":          {On: dpstest.Register, Status: 429, RetryAfter: "20"},
		"500":          {On: dpstest.Register, Status: 500},
		"503":          {On: dpstest.Register, Status: 503},
		"a page":       {On: dpstest.Register, Status: 200, Body: []byte("<html>")},
		"no response":  {On: dpstest.Register, NoAnswer: true},
		"cut":          {On: dpstest.Register, Cut: true},
		"a poll is so": {On: dpstest.Poll, Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.dps.Inject(f)
				dials := r.countDials(dps.DefaultEndpoint)
				stop := r.run(r.device())
				r.await(0, 10*time.Minute)
				stop()
				now := r.countDials(dps.DefaultEndpoint)
				require.Equal(t, dials.mqtt, now.mqtt)
			})
		})
	}
}

// inspected is a site behind a proxy that answers its HTTPS requests with a page of its own. The
// device trusts the proxy's authority, so that its certificate is as good as the service's.
type inspected struct {
	simnet.Site
	status int
}

func (p inspected) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "https://portal.example/")
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, "<html>please log in</html>")
}

func TestAProxyInPlaceOfTheServiceIsPassedBy(t *testing.T) {
	for _, status := range []int{200, 302, 403, 407, 451} {
		t.Run(fmt.Sprintf("dps %d", status), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.network.Handle(dps.DefaultEndpoint, inspected{r.dps, status})
				dev := r.device()
				stop := r.run(dev)
				require.Less(t, r.await(0, time.Minute).at, 10*time.Second)
				require.Equal(t, dps.MQTT, dev.Status().DPSTransport)
				stop()
			})
		})
	}
	// what an overloaded front end says as well is no reason to ask twice
	for _, status := range []int{429, 500, 503} {
		t.Run(fmt.Sprintf("dps %d", status), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.network.Handle(dps.DefaultEndpoint, inspected{r.dps, status})
				dials := r.countDials(dps.DefaultEndpoint)
				stop := r.run(r.device())
				time.Sleep(10 * time.Minute)
				stop()
				require.Equal(t, dials.mqtt, r.countDials(dps.DefaultEndpoint).mqtt)
			})
		})
	}
	t.Run("hub 403", func(t *testing.T) {
		each(t, autoWiring, func(t *testing.T, r *rig) {
			r.ways(hubA, wayOpen, wayDropped)
			r.boot()
			r.ways(hubA, wayOpen, wayOpen)
			r.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 403, Times: always})
			dev := r.device()
			stop := r.run(dev)
			require.Less(t, r.await(0, time.Minute).at, time.Second)
			require.Equal(t, hubconn.MQTT, dev.Status().HubTransport)
			stop()
		})
	})
}

// firewalled ends each connection to a port once there is anything but a handshake on it.
func firewalled(dev *provisioning.Device, port string) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := open(ctx, network, address)
		if err == nil && strings.HasSuffix(address, port) {
			nc = handshakeOnly{nc}
		}
		return nc, err
	}
}

type handshakeOnly struct{ net.Conn }

func (c handshakeOnly) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == 23 { // application data, RFC 8446 §5.1
		_ = c.Close()
		return 0, errors.New("cut by the firewall")
	}
	return c.Conn.Write(b)
}

func TestAFirewallThatCutsWhatFollowsTheHandshakeIsFoundOutWithoutMoreRequests(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		dev := r.device()
		firewalled(dev, ":8883")
		out, dials := logged(dev), r.countDials(hubA)
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
		stop()
		dials.require(1, 3)
		require.Equal(t, 1, out.count(switchedLine))
		require.Contains(t, out.String(), "said nothing over mqtt")

		r.reset()
		dials = r.countDials(hubA)
		dev = r.device()
		dev.Store = nil
		firewalled(dev, ":8883")
		stop = r.run(dev)
		for n := range 3 { // in one process
			r.await(n, 5*time.Minute)
			time.Sleep(time.Minute)
			r.network.Cut(hubA)
		}
		stop()
		dials.require(3, 3)

		r.reset()
		dials = r.countDials(hubA)
		dev = r.device()
		firewalled(dev, ":8883")
		stop = r.run(dev)
		require.Less(t, r.await(0, time.Minute).at, time.Second)
		stop()
		dials.require(1, 0)

		for _, c := range []struct {
			after time.Duration
			tries int // over the preferred transport
		}{{daily, 3}, {time.Hour, 0}} {
			time.Sleep(c.after)
			r.reset()
			dials = r.countDials(hubA)
			dev = r.device()
			firewalled(dev, ":8883")
			stop = r.run(dev)
			r.await(0, 5*time.Minute)
			stop()
			dials.require(1, c.tries)
		}
	})
}

func TestANetworkThatChangesUnderARunningDevice(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		r.await(0, time.Minute)
		next := 1
		for range 2 {
			for _, c := range []struct {
				https, mqtt way
				want        hubconn.Transport
			}{{wayOpen, wayDropped, hubconn.MQTTWebSocket}, {wayDropped, wayOpen, hubconn.MQTT}} {
				time.Sleep(time.Minute)
				r.ways(hubA, c.https, c.mqtt)
				cut := r.elapsed()
				r.network.Cut(hubA)
				s := r.await(next, time.Minute)
				between(t, firstTry, firstTry+12*time.Second, s.at-cut)
				require.Equal(t, c.want, dev.Status().HubTransport)
				require.Equal(t, next, out.count(switchedLine), out.String())
				next++
			}
		}
		stop()
	})
}

func TestLivesOfTwoMinutesGetThrough(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(hubA, wayOpen, wayDropped)
		r.ways(dps.DefaultEndpoint, wayDropped, wayOpen)
		lives := 0
		for ; len(r.seen()) == 0; lives++ {
			require.Less(t, lives, 2)
			r.life(r.device(), 2*time.Minute)
			r.store = coldStore{r.waits()} // switched off
		}
		for range 5 {
			r.reset()
			r.life(r.device(), 2*time.Minute)
			require.Less(t, r.seen()[0].at, time.Second)
			time.Sleep(10 * time.Minute)
		}
	})
}

// slowTo delays each connection to a port.
func slowTo(dev *provisioning.Device, port string, by time.Duration) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, port) {
			select {
			case <-time.After(by):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return open(ctx, network, address)
	}
}

func TestAPortThatIsSlowIsGivenItsTimeWhereNoOtherIsOpen(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(dps.DefaultEndpoint, wayOpen, wayDropped)
		r.ways(hubA, wayRefused, wayOpen)
		dev := r.device()
		slowTo(dev, "s.net:8883", 25*time.Second) // the hub
		slowTo(dev, "ioning.net:443", 25*time.Second)
		stop := r.run(dev)
		between(t, 0, 4*time.Minute, r.await(0, 10*time.Minute).at)
		stop()
	})
}

func TestTheProgramSetsHowLongTheFirstTryTakes(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		r.ways(hubA, wayOpen, wayDropped)
		entry, err := r.store.Get(t.Context(), rigID)
		require.NoError(t, err)
		for _, limit := range []time.Duration{4 * time.Second, 40 * time.Second} {
			require.NoError(t, r.store.Put(t.Context(), rigID, entry)) // as it was
			r.reset()
			dev := r.device()
			dev.Hub.DialTimeout = limit
			stop := r.run(dev)
			between(t, limit, limit+time.Second, r.await(0, time.Minute).at)
			stop()
		}
	})
}

func TestARenewalKeepsTheTransport(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(hubA, wayOpen, wayRefused)
		dials := r.countDials(hubA)
		stop := r.run(r.device())
		time.Sleep(5 * time.Hour)
		stop()
		attempts := len(r.a.Attempts())
		require.GreaterOrEqual(t, attempts, 5)
		dials.require(attempts, 1)
		require.Len(t, r.seen(), 1)
	})
}

func TestARegistrationGoesOnOverTheOtherPort(t *testing.T) {
	each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Poll, Cut: true})
		time.AfterFunc(time.Second, func() { r.ways(dps.DefaultEndpoint, wayRefused, wayOpen) })
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		log := r.dps.Requests()
		last := log[len(log)-1]
		require.Equal(t, dpstest.Poll, last.Op)
		require.Equal(t, dpstest.MQTT, last.Transport)
		require.Equal(t, log[0].OperationID, last.OperationID)
	})
}

func TestAnAttemptOverTwoPortsIsOne(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		r.ways(hubA, wayRefused, wayRefused)
		dials := r.countDials(hubA)
		dev := r.device()
		dev.Retry.MaxAttempts = 3
		err := dev.Run(t.Context(), r.session)
		require.Equal(t, hubconn.Unreachable, hubconn.ClassOf(err))
		require.Contains(t, err.Error(), "8883")
		require.NotContains(t, err.Error(), "\n")
		dials.require(3, 3)
	})
}

func TestAHubThatIsGoneIsFoundOutThroughEitherPortOfDPS(t *testing.T) {
	for _, closed := range []way{wayOpen, wayRefused, wayDropped} {
		t.Run("443 "+string(closed), func(t *testing.T) {
			each(t, []wiring{{auto: true, x509: true}}, func(t *testing.T, r *rig) {
				r.boot()
				require.NoError(t, r.dps.MoveNow(rigID, hubB))
				r.network.Remove(hubA)
				r.ways(dps.DefaultEndpoint, closed, wayOpen)
				stop := r.run(r.device())
				require.Equal(t, hubB, r.await(0, 10*time.Minute).hub)
				stop()
				require.Zero(t, r.asked(dpstest.Lookup))
			})
		})
	}
}

func TestAWrongClockIsCorrectedWhateverThePort(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.ways(hubA, wayOpen, wayDropped)
		dev := r.device()
		stoppedClock(dev, time.Now().AddDate(3, 0, 0)) // every certificate has expired
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAStoreThatIsUnreadableBehindAClosedPort443(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.store.Put(t.Context(), rigID, []byte("torn")))
		r.ways(dps.DefaultEndpoint, wayDropped, wayOpen)
		stop := r.run(r.device())
		r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAFleetThatNothingIsClosedToAsksNoMore(t *testing.T) {
	each(t, autoWiring, func(t *testing.T, r *rig) {
		f := newFleet(r, fleetSize)
		f.boot()
		dials, toDPS := r.countDials(hubA), r.countDials(dps.DefaultEndpoint)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: 5 * fleetSize})
		stop := f.run(func(*provisioning.Device) {})
		time.Sleep(time.Hour)
		stop()
		dials.require(0, len(r.a.Attempts()))
		require.Equal(t, toDPS.mqtt, r.countDials(dps.DefaultEndpoint).mqtt)
	})
}
