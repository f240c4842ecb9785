// SPDX-License-Identifier: Apache-2.0

package diagnosis_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/rehome/diagnosis"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	hubA = "hub-a.azure-devices.net"
	hubB = "hub-b.azure-devices.net"
)

var (
	key      = base64.StdEncoding.EncodeToString([]byte("canary-key-of-the-device-0123456"))
	thirdKey = base64.StdEncoding.EncodeToString([]byte("canary-key-of-a-third-0123456789"))
	otherKey = base64.StdEncoding.EncodeToString([]byte("canary-key-of-another-0123456789"))
)

// world is a device with its services.
type world struct {
	*testing.T
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
	dev     *provisioning.Device
	options diagnosis.Options
	clock   time.Duration // that the device's clock is ahead
}

// inWorld runs a test in a bubble, with a device that is enrolled.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := simnet.ForTest(t)
		w := &world{
			T: t, network: n, dps: dpstest.New(n, dpstest.Config{Allocate: allocates}),
			a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
		}
		w.dps.Link(w.a, w.b)
		require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "board", Attestation: dpstest.Keys(key, ""), IoTHubs: []string{hubA},
			AllocationPolicy: dpstest.PolicyStatic,
		}))
		config := n.TLSConfig().Clone()
		config.Time = func() time.Time { return time.Now().Add(w.clock) }
		w.dev = w.device(config.Clone().Time, "")
		w.options = diagnosis.Options{
			Device: w.dev, Dial: n.DialContext,
			Resolve: func(context.Context, string) ([]string, error) {
				return []string{"192.0.2.1"}, nil
			},
		}
		test(w)
	})
}

// allocates is a custom allocation that says for how long to stagger.
func allocates(context.Context, dpstest.Allocation) (dpstest.Allocated, error) {
	return dpstest.Allocated{
		Hub: hubA, Payload: json.RawMessage(`{"rehome":{"staggerSeconds":7200}}`),
	}, nil
}

// device is the enrolled one, with another clock and store if given.
func (w *world) device(now func() time.Time, store string) *provisioning.Device {
	config := w.network.TLSConfig().Clone()
	config.Time = now
	d := &provisioning.Device{
		IDScope: w.dps.IDScope(), Attestation: dps.SymmetricKey{ID: "board", Key: key},
		DialContext: w.network.DialContext, TLSConfig: config,
	}
	if store != "" {
		d.Store = cache.Dir(store)
	}
	return d
}

// registered lets the device register, and remember it if there is a store.
func (w *world) registered() {
	conn, err := w.device(nil, w.storeDir()).Connect(w.Context())
	require.NoError(w, err)
	require.NoError(w, conn.Close())
}

func (w *world) storeDir() string {
	if dir, ok := w.dev.Store.(cache.Dir); ok {
		return string(dir)
	}
	return ""
}

// stores gives the device a store.
func (w *world) stores() { w.dev.Store = cache.Dir(w.TempDir()) }

func (w *world) run() diagnosis.Outcome { return diagnosis.Run(w.Context(), w.options) }

// Each kind of trouble is found at its own step, with what mends it, and nothing before it fails.
func TestTheStepThatFailsIsNamedWithItsFix(t *testing.T) {
	for name, row := range map[string]struct {
		trouble func(w *world)
		fails   string   // the first step; "" is none
		says    []string // of that step
		next    string
		hub     bool // the device got in all the same
	}{
		"everything is fine": {trouble: (*world).registered, hub: true, next: "stays connected"},
		"everything is fine, with a store": {trouble: func(w *world) {
			w.stores()
			w.registered()
		}, hub: true, next: "without any request to dps"},
		"not registered yet": {trouble: func(*world) {}, next: "registers at once"},
		"registers, port 443 closed": {trouble: func(w *world) {
			w.options.Register = true
			w.network.SetPortFault(dpstest.GlobalEndpoint, simnet.PortHTTPS, simnet.Refused)
		}, hub: true},
		"registers when asked": {trouble: func(w *world) { w.options.Register = true }, hub: true},
		"name of dps does not exist": {trouble: func(w *world) {
			w.options.Resolve = missing(dpstest.GlobalEndpoint)
		}, fails: diagnosis.StepDPSName, says: []string{"does not exist", "-endpoint"},
			next: "5 to 10 s"},
		"name server fails": {trouble: func(w *world) {
			w.network.SetFault(dpstest.GlobalEndpoint, simnet.NameFailure)
		}, fails: diagnosis.StepDPSName, says: []string{"server misbehaving", "resolv.conf"}},
		"name of the hub does not exist": {trouble: func(w *world) {
			w.registered()
			w.options.Resolve = missing(hubA)
		}, fails: diagnosis.StepHubName, says: []string{hubA + " does not exist", "dps"},
			next: "after 3 tries"},
		"port of dps closed": {trouble: func(w *world) {
			w.network.SetPortFault(dpstest.GlobalEndpoint, simnet.PortHTTPS, simnet.Refused)
		}, fails: diagnosis.StepDPSTCP,
			says: []string{"refuses", "open port 443", "port 8883 is open: the device registers"}},
		"dps closed, and a hub remembered": {trouble: func(w *world) {
			w.stores()
			w.registered()
			w.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		}, fails: diagnosis.StepDPSTCP, says: []string{"refuses"}, hub: true,
			next: "without any request to dps"},
		"all ports of dps closed": {trouble: func(w *world) {
			w.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
		}, fails: diagnosis.StepDPSTCP, says: []string{"does not answer", "8883 is closed too"}},
		"ports of the hub closed": {trouble: func(w *world) {
			w.registered()
			w.network.SetFault(hubA, simnet.Refused)
		}, fails: diagnosis.StepHubTCP, says: []string{
			hubA + ":443 refuses", hubA + ":8883 refuses", "open port 443",
		}, next: "asks dps where it belongs"},
		"port 8883 of the hub closed": {trouble: func(w *world) {
			w.registered()
			w.network.SetPortFault(hubA, simnet.PortMQTT, simnet.Blackhole)
		}, hub: true},
		"authority of a proxy at dps": {trouble: func(w *world) {
			w.network.SetCertificate(dpstest.GlobalEndpoint, simnet.UnknownCA)
		}, fails: diagnosis.StepDPSTLS, says: []string{"Unknown Root", "-ca", "valid from"}},
		"authority of a proxy at the hub": {trouble: func(w *world) {
			w.registered()
			w.network.SetCertificate(hubA, simnet.UnknownCA)
		}, fails: diagnosis.StepHubTLS, says: []string{"Unknown Root", "-ca"},
			next: "never sends a credential"},
		"certificate of dps expired": {trouble: func(w *world) {
			w.network.SetCertificate(dpstest.GlobalEndpoint, simnet.Expired)
		}, fails: diagnosis.StepDPSTLS, says: []string{"expired at", "renew its certificate"}},
		"certificate of the hub expired": {trouble: func(w *world) {
			w.registered()
			w.network.SetCertificate(hubA, simnet.Expired)
		}, fails: diagnosis.StepHubTLS, says: []string{"expired at", "dps has confirmed"}},
		"another server": {trouble: func(w *world) {
			w.network.SetCertificate(dpstest.GlobalEndpoint, simnet.WrongName)
		}, fails: diagnosis.StepDPSTLS, says: []string{"another server's", "captive portal"}},
		"connection cut in the handshake": {trouble: func(w *world) {
			w.network.SetFault(dpstest.GlobalEndpoint, simnet.ResetOnAccept)
		}, fails: diagnosis.StepDPSTLS, says: []string{"cut", "firewall that filters by name"}},
		"clock of 1970": {trouble: func(w *world) {
			w.registered()
			w.clock = time.Until(time.Unix(60, 0))
		}, fails: diagnosis.StepDPSTLS, says: []string{"set the device's clock"}, hub: true},
		"clock of 1970, and a time remembered": {trouble: func(w *world) {
			w.stores()
			w.registered()
			w.clock = time.Until(time.Unix(60, 0))
		}, fails: diagnosis.StepClock, says: []string{"1970-01-01T00:01:", "battery"}, hub: true},
		"clock 2 h behind": {trouble: func(w *world) {
			w.registered()
			w.clock = -2 * time.Hour
		}, fails: diagnosis.StepClock, says: []string{"2h0m0s behind", "ntp"}, hub: true},
		"clock 2 h ahead": {trouble: func(w *world) {
			w.registered()
			w.clock = 2 * time.Hour
		}, fails: diagnosis.StepClock, says: []string{"2h0m0s ahead", "ntp"}, hub: true},
		"wrong key": {trouble: func(w *world) {
			w.dev.Attestation = dps.SymmetricKey{ID: "board", Key: otherKey}
		}, fails: diagnosis.StepDPS, says: []string{
			"status 401", "401002", "tracking id", "do not fit each other", "-key", "derive-key",
		}, next: "1, 5 and 15 minutes"},
		"wrong registration ID": {trouble: func(w *world) {
			w.dev.Attestation = dps.SymmetricKey{ID: "bord", Key: key}
		}, fails: diagnosis.StepDPS, says: []string{"registration id bord", "compare"}},
		"wrong scope": {trouble: func(w *world) {
			w.dev.IDScope = "0ne00WRONG"
		}, fails: diagnosis.StepDPS, says: []string{"knows no id scope 0ne00WRONG", "-id-scope"},
			next: "1, 5 and 15 minutes"},
		"disabled enrollment": {trouble: func(w *world) {
			require.NoError(w, w.dps.SetEnabled("board", false))
			w.options.Register = true
		}, fails: diagnosis.StepDPS, says: []string{"is disabled", "enable it"}},
		"dps throttles": {trouble: func(w *world) {
			w.dps.Inject(dpstest.Fault{Status: 429, RetryAfter: "90"})
		}, fails: diagnosis.StepDPS, says: []string{"status 429", "retry after 1m30s", "wait"},
			next: "no earlier than in 1m30s"},
		"dps in trouble": {trouble: func(w *world) {
			w.dps.Inject(dpstest.Fault{Status: 503})
		}, fails: diagnosis.StepDPS, says: []string{"status 503", "in trouble"}},
		"a proxy answers for dps": {trouble: func(w *world) {
			w.network.Handle(dpstest.GlobalEndpoint, gatekeeper{})
		}, fails: diagnosis.StepDPS, says: []string{"proxy or firewall"}},
		"deleted at the hub": {trouble: func(w *world) {
			w.stores()
			w.registered()
			w.a.Delete("board")
		}, fails: diagnosis.StepHub, says: []string{
			"connack return code 5", "DeviceNotFound", "deleted", "registers again",
		}, next: "names the same hub"},
		"moved to another hub": {trouble: func(w *world) {
			w.stores()
			w.registered()
			require.NoError(w, w.dps.MoveNow("board", hubB))
		}, fails: diagnosis.StepHub, says: []string{"does not belong", hubB},
			next: "registers with dps at once"},
		"moved, and dps says to stagger": {trouble: func(w *world) {
			w.stores()
			require.NoError(w, w.dps.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: "board", Attestation: dpstest.Keys(key, ""),
				AllocationPolicy: dpstest.PolicyCustom,
			}))
			w.registered()
			w.a.Delete("board")
		}, fails: diagnosis.StepHub, next: "at a random time within 2h0m0s (as dps has said)"},
		"moved, and the device is to stagger": {trouble: func(w *world) {
			w.stores()
			w.registered()
			w.dev.Stagger = 10 * time.Minute
			require.NoError(w, w.dps.MoveNow("board", hubB))
		}, fails: diagnosis.StepHub, next: "at a random time within 10m0s (-stagger)"},
		"hub in trouble": {trouble: func(w *world) {
			w.registered()
			w.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
		}, fails: diagnosis.StepHub, says: []string{"connack return code 3", "in trouble", "wait"},
			next: "5 to 10 s"},
		"hub answers 503": {trouble: func(w *world) {
			w.registered()
			w.dev.Hub.Transport = hubconn.MQTTWebSocket
			w.a.Inject(hubtest.Fault{
				On: hubtest.Upgrade, Status: 503, ErrorCode: "ServiceUnavailable",
			})
		}, fails: diagnosis.StepHub, says: []string{"status 503", "in trouble"}},
		"hub throttles": {trouble: func(w *world) {
			w.registered()
			w.dev.Hub.Transport = hubconn.MQTTWebSocket
			w.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 429, RetryAfter: "30",
				ErrorCode: "ThrottlingException"})
		}, fails: diagnosis.StepHub, says: []string{"status 429", "throttles", "retry after 30s"},
			next: "no earlier than in 30s"},
		"damaged store": {trouble: func(w *world) {
			w.stores()
			w.registered()
			name := filepath.Join(w.storeDir(), "board")
			require.NoError(w, os.WriteFile(name, []byte("nonsense"), 0o600))
		}, next: "status lookup", hub: true},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				row.trouble(w)
				w.dps.ResetLog()
				registrations := w.dps.Count(dpstest.Register)
				o := w.run()
				text := lines(o)
				step := ""
				if failed := o.Failed(); failed != nil {
					step = failed.Name
					told, err := json.Marshal(failed)
					require.NoError(t, err)
					for _, says := range row.says {
						assert.Contains(t, string(told), says, text)
					}
					assert.NotEmpty(t, failed.Fix, text)
				}
				assert.Equal(t, row.fails, step, text)
				assert.Contains(t, strings.Join(o.Next, "; "), row.next, text)
				last := o.Steps[len(o.Steps)-1]
				assert.Equal(t, diagnosis.StepHub, last.Name)
				assert.Equal(t, row.hub, last.Result == diagnosis.OK, text)
				for _, secret := range []string{key, otherKey, "SharedAccessSignature"} {
					assert.NotContains(t, text, secret)
				}
				if !w.options.Register {
					assert.Equal(t, registrations, w.dps.Count(dpstest.Register), "no registration")
				}
				assert.LessOrEqual(t, w.dps.Count(dpstest.Lookup), 2, text)
			})
		})
	}
}

// gatekeeper is a proxy that lets nobody through.
type gatekeeper struct{}

func (gatekeeper) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, "<html>no</html>")
}

func (gatekeeper) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func TestItAsksNoMoreThanItMust(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stores()
		w.registered()
		file := filepath.Join(w.storeDir(), "board")
		before, err := os.ReadFile(file)
		require.NoError(t, err)
		w.dps.ResetLog()
		w.a.ResetLog()
		assert.Nil(t, w.run().Failed())
		assert.Equal(t, 1, w.dps.Count(dpstest.Lookup))
		assert.Len(t, w.dps.Requests(), 1)
		assert.Len(t, w.a.Attempts(), 1)
		assert.Empty(t, w.a.Operations())
		after, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Equal(t, before, after, "what is stored stays")

		w.dev.Store, w.clock = nil, -2*time.Hour // its token has expired, as dps sees it
		w.dps.ResetLog()
		w.run()
		assert.Len(t, w.dps.Requests(), 2, "once more by the right time")
	})
}

// The waits of a device hold for who asks about it, too.
func TestWhoHasAskedToBeLeftAloneIs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stores()
		drive := func() {
			ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
			defer cancel()
			conn, err := w.device(nil, w.storeDir()).Connect(ctx)
			require.Error(t, err, conn)
		}
		w.dps.Inject(dpstest.Fault{Status: 429, RetryAfter: "3600"})
		drive()
		w.dps.ResetLog()
		o := w.run()
		assert.Empty(t, w.dps.Requests())
		assert.Contains(t, lines(o), "dps has asked the device to leave it alone until 2000-01-01T")
		assert.Contains(t, strings.Join(o.Next, "; "), "a start asks dps at 2000-01-01T0")

		time.Sleep(2 * time.Hour)
		w.registered()
		w.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 429, RetryAfter: "3600",
			ErrorCode: "ThrottlingException"})
		dev := w.device(nil, w.storeDir())
		dev.Hub.Transport = hubconn.MQTTWebSocket
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		_, err := dev.Connect(ctx)
		require.Error(t, err)
		w.a.ResetLog()
		o = w.run()
		assert.Empty(t, w.a.Attempts())
		assert.Contains(t, lines(o), "the hub has asked the device to leave it alone")
		assert.Contains(t, strings.Join(o.Next, "; "), "a start tries the hub at")
	})
}

// A device with two credentials gets in with either, and says which one is to be replaced.
func TestTheSecondCredentialIsShownWhereTheFirstIsRefused(t *testing.T) {
	inWorld(t, func(w *world) {
		w.registered()
		good := w.dev.Attestation
		w.dev.Attestation = dps.SymmetricKey{ID: "board", Key: otherKey}
		assert.Equal(t, diagnosis.StepDPS, w.run().Failed().Name)
		w.dev.SecondAttestation = good
		o := w.run()
		assert.Nil(t, o.Failed(), lines(o))
		assert.Contains(t, lines(o), "dps refuses the first credential, and accepts the second")

		w.dev.Attestation, w.dev.SecondAttestation = good, dps.SymmetricKey{
			ID: "board", Key: otherKey,
		}
		require.NoError(t, w.a.Put(hubtest.Device{ID: "board", PrimaryKey: otherKey}))
		o = w.run()
		assert.Nil(t, o.Failed(), lines(o))
		assert.Contains(t, lines(o), "the hub refuses the first credential")

		require.NoError(t, w.a.Put(hubtest.Device{ID: "board", PrimaryKey: thirdKey}))
		assert.Equal(t, diagnosis.StepHub, w.run().Failed().Name)
	})
}

func TestARunningDeviceKeepsItsConnectionIfAsked(t *testing.T) {
	inWorld(t, func(w *world) {
		conn, err := w.device(nil, "").Connect(w.Context())
		require.NoError(t, err)
		w.options.NoConnect = true
		o := w.run()
		assert.Nil(t, o.Failed())
		steps := o.Steps[len(o.Steps)-2:]
		assert.Equal(t, diagnosis.OK, steps[0].Result, "tls was looked at")
		assert.Equal(t, diagnosis.Skipped, steps[1].Result)
		assert.NoError(t, conn.Context().Err())
		require.NoError(t, conn.Close())
	})
}

func TestStepsAreReportedAsTheyEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		var told []diagnosis.Step
		w.options.Report = func(s diagnosis.Step) { told = append(told, s) }
		o := w.run()
		assert.Equal(t, o.Steps, told)
		var names []string
		for _, s := range told {
			names = append(names, s.Name)
		}
		assert.Equal(t, []string{
			"settings", "store", "dps name", "dps tcp", "dps tls", "clock", "dps", "hub name",
			"hub tcp", "hub tls", "hub",
		}, names)
	})
}

func TestAStoreThatIsNotUsedIsAWarning(t *testing.T) {
	inWorld(t, func(w *world) {
		w.stores()
		w.registered()
		name := filepath.Join(w.storeDir(), "board")
		require.NoError(w, os.WriteFile(name, []byte("nonsense"), 0o600))
		step := w.run().Steps[1]
		assert.Equal(t, diagnosis.StepStore, step.Name)
		assert.Equal(t, diagnosis.Warning, step.Result)
		assert.Contains(t, step.Cause, "damaged")
	})
}

// The way through a proxy is the device's: to DPS, and to the hub over WebSocket.
func TestTheWayThroughAProxyIsExplained(t *testing.T) {
	inWorld(t, func(w *world) {
		w.registered()
		w.network.SetPortFault(hubA, simnet.PortMQTT, simnet.Refused)
		w.dev.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme != "https" {
				return nil, nil // as of the environment
			}
			return url.Parse("http://user:canary-password@proxy.example:3128")
		}
		status := "200 Connection established"
		w.options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address != "proxy.example:3128" {
				return w.network.DialContext(ctx, network, address)
			}
			client, server := net.Pipe()
			go w.tunnel(server, status)
			return client, nil
		}
		o := w.run()
		text := lines(o)
		assert.Nil(t, o.Failed(), text)
		assert.Equal(t, 2, strings.Count(text, "through http://proxy.example:3128"), text)
		assert.NotContains(t, text, "canary-password")

		status = "403 Forbidden"
		failed := w.run().Failed()
		assert.Equal(t, diagnosis.StepDPSTLS, failed.Name)
		assert.Contains(t, failed.Cause, "the proxy does not let it through")
		assert.Contains(t, failed.Fix, "HTTPS_PROXY")
	})
}

// tunnel serves one CONNECT.
func (w *world) tunnel(client net.Conn, status string) {
	defer client.Close()
	r, err := http.ReadRequest(bufio.NewReader(client))
	if err != nil {
		return
	}
	_, _ = io.WriteString(client, "HTTP/1.1 "+status+"\r\n\r\n")
	to, err := w.network.DialContext(context.Background(), "tcp", r.Host)
	if err != nil || !strings.HasPrefix(status, "2") {
		return
	}
	go func() {
		_, _ = io.Copy(to, client)
		_ = to.Close()
	}()
	_, _ = io.Copy(client, to)
}

func TestAProxyIsNamedWithoutItsPassword(t *testing.T) {
	inWorld(t, func(w *world) {
		w.dev.Proxy = func(*http.Request) (*url.URL, error) {
			return url.Parse("http://user:canary-password@proxy.example:3128")
		}
		o := w.run()
		text := lines(o)
		assert.Contains(t, text, "through http://proxy.example:3128")
		assert.NotContains(t, text, "canary-password")
		assert.Equal(t, diagnosis.StepDPSName, o.Failed().Name, "the proxy's own does not exist")
	})
}

// missing resolves every name but one.
func missing(name string) func(context.Context, string) ([]string, error) {
	return func(_ context.Context, host string) ([]string, error) {
		if host == name {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return []string{"192.0.2.1"}, nil
	}
}

// lines is an outcome for the message of a test that failed.
func lines(o diagnosis.Outcome) string {
	text, _ := json.MarshalIndent(o, "", " ")
	return string(text)
}
