// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// sessionUses are the ways to reach a hub, each with a connection of its own.
var sessionUses = map[string]func(
	context.Context, *hubconn.Dialer, hubconn.Hub, hubconn.Credential,
) error{
	"mqtt": dialAndClose,
	"ws": func(
		ctx context.Context, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential,
	) error {
		webSocket := *d
		webSocket.Transport = hubconn.MQTTWebSocket
		return dialAndClose(ctx, &webSocket, hub, c)
	},
	"https": func(
		ctx context.Context, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential,
	) error {
		return d.Post(ctx, hub, c, hubconn.Message{})
	},
}

func dialAndClose(
	ctx context.Context, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential,
) error {
	conn, err := d.Dial(ctx, hub, c)
	if err == nil {
		err = conn.Close()
	}
	return err
}

// resumption is a hub whose devices' TLS sessions are counted.
type resumption struct {
	*stage
	use     func(context.Context, *hubconn.Dialer, hubconn.Hub, hubconn.Credential) error
	resumed *int
}

// eachResumption runs a test by each way to reach a hub, over each version of TLS.
func eachResumption(t *testing.T, test func(*resumption)) {
	for name, use := range sessionUses {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+" "+tls.VersionName(version), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newStage(t, simnet.New(), hubconn.MQTT)
					s.network.SetMaxTLSVersion(version)
					resumed := 0
					s.dialer.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
						if state.DidResume {
							resumed++
						}
						return nil
					}
					test(&resumption{stage: s, use: use, resumed: &resumed})
				})
			})
		}
	}
}

func (r *resumption) reach(device string, c hubconn.Credential) error {
	return r.use(r.Context(), r.dialer, hubconn.Hub{Host: host, DeviceID: device}, c)
}

// enroll puts a device with two certificates into the hub.
func (r *resumption) enroll(device string) (primary, secondary clientCert) {
	primary = clientCert{r.network.CA().Device(device)}
	secondary = clientCert{r.network.CA().Device(device)}
	require.NoError(r, r.hub.Put(hubtest.Device{
		ID: device, PrimaryThumbprint: hubtest.Thumbprint(primary.chain.Leaf),
		SecondaryThumbprint: hubtest.Thumbprint(secondary.chain.Leaf),
	}))
	return primary, secondary
}

// The hub takes the client of a resumed session for the one that it was made with, so a session
// that another identity resumed would be refused by the hub, or worse.
func TestASessionIsResumedByTheIdentityAloneThatBeganIt(t *testing.T) {
	eachResumption(t, func(r *resumption) {
		r.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		first, renewed := r.enroll("dev2")
		other, _ := r.enroll("dev3")
		require.NoError(r, r.hub.Put(hubtest.Device{
			ID: "dev4", PrimaryKey: base64.StdEncoding.EncodeToString(r.key),
		}))
		for _, step := range []struct {
			device     string
			credential hubconn.Credential
			resumed    int
		}{
			{"dev2", first, 0}, {"dev2", first, 1}, {"dev3", other, 1}, {"dev2", renewed, 1},
			{"dev1", r.key, 1}, {"dev4", r.key, 2}, // a token is not of the session
			{"dev2", first, 3}, {"dev3", other, 4}, {"dev2", renewed, 5},
		} {
			require.NoError(r, r.reach(step.device, step.credential), "%+v", step.device)
			assert.Equal(r, step.resumed, *r.resumed, step.device)
		}
	})
}

func TestAProgramThatChoosesTheCertificateItselfResumesNothing(t *testing.T) {
	eachResumption(t, func(r *resumption) {
		certificate := r.network.CA().Device("dev2")
		r.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		r.dialer.TLSConfig.GetClientCertificate = func(
			*tls.CertificateRequestInfo,
		) (*tls.Certificate, error) {
			return &certificate, nil
		}
		for range 3 {
			require.NoError(r, r.reach("dev1", r.key))
		}
		assert.Zero(r, *r.resumed)
	})
}

func TestARefusalLeavesNoSession(t *testing.T) {
	eachResumption(t, func(r *resumption) {
		r.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		certificate, _ := r.enroll("dev2")
		require.NoError(r, r.reach("dev2", certificate))
		r.hub.Delete("dev2")
		assert.Equal(r, hubconn.Rejected, hubconn.ClassOf(r.reach("dev2", certificate)))
		assert.Equal(r, 1, *r.resumed)
		require.NoError(r, r.hub.Put(hubtest.Device{
			ID: "dev2", PrimaryThumbprint: hubtest.Thumbprint(certificate.chain.Leaf),
		}))
		require.NoError(r, r.reach("dev2", certificate))
		assert.Equal(r, 1, *r.resumed, "it introduced itself anew")
	})
}

func TestAHubWhoseCertificateChangedResumesNothing(t *testing.T) {
	eachResumption(t, func(r *resumption) {
		r.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
		require.NoError(r, r.reach("dev1", r.key))
		r.network.SetCertificate(host, simnet.UnknownCA)
		assert.Equal(r, hubconn.Untrusted, hubconn.ClassOf(r.reach("dev1", r.key)))
		assert.Zero(r, *r.resumed)
	})
}

func TestAConnectionResumesItsOwnSessionWhenItIsRenewed(t *testing.T) {
	play(t, func(s *stage) {
		resumed := 0
		s.dialer.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
			if state.DidResume {
				resumed++
			}
			return nil
		}
		for range 2 {
			conn := s.connect()
			assert.Zero(s, resumed, "one connection knows nothing of another's")
			require.NoError(s, conn.Close())
		}
		s.connect()
		time.Sleep(3 * time.Hour)
		assert.Equal(s, s.accepted()-3, resumed)
		assert.GreaterOrEqual(s, resumed, 3)
		assert.Nil(s, s.dialer.TLSConfig.ClientSessionCache, "the configuration is the program's")
	})
}

// meter counts what a device sends and receives.
type meter struct {
	net.Conn
	sent, received *atomic.Int64
}

func (m meter) Write(b []byte) (int, error) {
	m.sent.Add(int64(len(b)))
	return m.Conn.Write(b)
}

func (m meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.received.Add(int64(n))
	return n, err
}

// traffic is what a connection takes on the wire until the hub has accepted it, in bytes.
type traffic struct{ up, down int64 }

// measure connects twice with the same session cache.
func measure(
	t *testing.T, version uint16, curves []tls.CurveID, byKey bool,
) (first, again traffic) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		s.network.SetMaxTLSVersion(version)
		var sent, received atomic.Int64
		s.dialer.DialContext = func(
			ctx context.Context, network, address string,
		) (net.Conn, error) {
			nc, err := s.network.DialContext(ctx, network, address)
			return meter{nc, &sent, &received}, err
		}
		s.dialer.TLSConfig.CurvePreferences = curves
		s.dialer.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		r := resumption{stage: s}
		var credential hubconn.Credential = s.key
		device := "dev1"
		if !byKey {
			device = "dev2"
			credential, _ = r.enroll(device)
		}
		for _, n := range []*traffic{&first, &again} {
			sent.Store(0)
			received.Store(0)
			conn, err := s.dialer.Dial(
				s.Context(), hubconn.Hub{Host: host, DeviceID: device}, credential,
			)
			require.NoError(s, err)
			*n = traffic{sent.Load(), received.Load()}
			require.NoError(s, conn.Close())
		}
	})
	return first, again
}

// Most of a ClientHello is the key share of X25519MLKEM768. What a resumed session saves is the
// server's chain, a round trip of TLS 1.2 and the work of both sides; this server's ticket is
// longer than what it replaces in the other direction.
func TestAConnectionTakesFewBytesWithTheSettingForThem(t *testing.T) {
	few := []tls.CurveID{tls.X25519, tls.CurveP256}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, byKey := range []bool{true, false} {
			standard, _ := measure(t, version, nil, byKey)
			first, again := measure(t, version, few, byKey)
			t.Logf("%s, by key: %v: %+v, with fewer curves %+v, resumed %+v",
				tls.VersionName(version), byKey, standard, first, again)
			if byKey {
				assert.LessOrEqual(t, first.up, int64(700))
			}
			assert.Greater(t, standard.up, first.up+1200)
			assert.Less(t, again.up, first.up+150)
			assert.Less(t, again.down, first.down-500)
		}
	}
}
