// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/dial"
)

// system is a certificate store that notes how often it is loaded.
func system(loads *int, authorities ...*simnet.CA) func() (*x509.CertPool, error) {
	return func() (*x509.CertPool, error) {
		*loads++
		pool := x509.NewCertPool()
		for _, ca := range authorities {
			pool.AddCert(ca.Certificate())
		}
		return pool, nil
	}
}

func TestTheSystemsStoreIsLoadedWhereTheBuiltInRootsDoNotServe(t *testing.T) {
	other := simnet.NewCA("Another Root", time.Now())
	for name, row := range map[string]struct {
		builtIn, stored bool // of the hub's authority
		empty           bool // the system has no authority at all
		failing         bool // the system's store cannot be loaded
		dials           []int
		loads           int
		verifies        bool
	}{
		"built in":           {builtIn: true, stored: true, dials: []int{1, 1}, verifies: true},
		"built in alone":     {builtIn: true, empty: true, dials: []int{1, 1}, verifies: true},
		"in the store alone": {stored: true, dials: []int{2, 1}, loads: 1, verifies: true},
		"in neither":         {dials: []int{2, 2}, loads: 1},
		"no store":           {empty: true, dials: []int{1, 1}, loads: 1},
		"a broken store":     {failing: true, dials: []int{1, 1}, loads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			explore(t, func(w *world) {
				stored := []*simnet.CA{other}
				if row.stored {
					stored = append(stored, w.network.CA())
				}
				if row.empty {
					stored = nil
				}
				loads := 0
				load := system(&loads, stored...)
				if row.failing {
					load = func() (*x509.CertPool, error) {
						loads++
						return nil, errors.New("permission denied")
					}
				}
				builtIn := simnet.NewCA("Built In Root", time.Now()).Certificate().Raw
				if row.builtIn {
					builtIn = w.network.CA().Certificate().Raw
				}
				w.dialer.TLSConfig = nil
				w.dialer.Roots = dial.NewRoots(load, builtIn)
				device := w.network.CA().Device("dev1")
				w.dialer.Certificate = &device
				for _, dials := range row.dials {
					w.dials, w.shown = nil, nil
					err := w.speak("mqtts")
					assert.Len(w, w.dials, dials)
					if row.verifies {
						require.NoError(w, err)
						assert.Equal(w, []string{"dev1"}, w.shown, "a credential goes out once")
						continue
					}
					_, ok := errors.AsType[x509.UnknownAuthorityError](err)
					assert.True(w, ok, "%v", err)
					_, ok = errors.AsType[*tls.CertificateVerificationError](err)
					assert.True(w, ok, "%v", err)
					assert.Empty(w, w.shown)
				}
				assert.Equal(w, row.loads, loads)
			})
		})
	}
}

func TestWhatNoOtherAuthorityCouldVerifyIsNotTriedAgain(t *testing.T) {
	for kind, want := range map[simnet.CertificateKind]string{
		simnet.Expired: "expired or is not yet", simnet.NotYetValid: "expired or is not yet",
		simnet.WrongName: hub,
	} {
		explore(t, func(w *world) {
			loads := 0
			w.dialer.TLSConfig = nil
			authority := w.network.CA()
			w.dialer.Roots = dial.NewRoots(system(&loads, authority), authority.Certificate().Raw)
			w.network.SetCertificate(hub, kind)
			require.ErrorContains(w, w.speak("mqtts"), want)
			assert.Len(w, w.dials, 1, want)
			assert.Zero(w, loads)
		})
	}
}

func TestTheStoreServesBesideWhatIsBuiltIn(t *testing.T) {
	explore(t, func(w *world) {
		company := simnet.NewCA("Company Root", w.network.Now())
		private := company.Server(hub)
		w.proxies[hub+":8883"] = func(nc net.Conn) {
			tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{private}})
			if tc.Handshake() == nil {
				w.ServeMQTT(tc)
			}
		}
		loads := 0
		w.dialer.TLSConfig = nil
		w.dialer.Roots = dial.NewRoots(system(&loads, company), w.network.CA().Certificate().Raw)
		require.NoError(w, w.speak("https"))
		require.Zero(w, loads)
		require.NoError(w, w.speak("mqtts"))
		require.NoError(w, w.speak("https"), "the store does not have this one's")
		assert.Len(w, w.dials, 4)
	})
}

// A server may send a certificate by which another root once vouched for its own, and which has
// expired since.
func TestAnExpiredCertificateAboveTheServersOwnHidesNoRootOfTheStore(t *testing.T) {
	explore(t, func(w *world) {
		old := simnet.NewCA("Old Root", w.network.Now())
		now := simnet.NewCA("New Root", w.network.Now())
		leaf := now.Server(hub)
		leaf.Certificate = append(leaf.Certificate, crossSigned(w, old, now))
		w.proxies[hub+":8883"] = func(nc net.Conn) {
			tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{leaf}})
			if tc.Handshake() == nil {
				w.ServeMQTT(tc)
			}
		}
		loads := 0
		w.dialer.TLSConfig = nil
		w.dialer.Roots = dial.NewRoots(system(&loads, now), old.Certificate().Raw)
		require.NoError(w, w.speak("mqtts"))
		assert.Equal(w, 1, loads)
	})
}

func TestTheProgramsRootsReplaceBothOthers(t *testing.T) {
	explore(t, func(w *world) {
		loads := 0
		authority := w.network.CA()
		w.dialer.Roots = dial.NewRoots(system(&loads, authority), authority.Certificate().Raw)
		w.dialer.TLSConfig = &tls.Config{RootCAs: simnet.NewCA("Own Root", time.Now()).Pool()}
		require.ErrorContains(w, w.speak("mqtts"), "unknown authority")
		w.dialer.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		require.ErrorContains(w, w.speak("https"), "unknown authority")
		assert.Len(w, w.dials, 2)
		assert.Zero(w, loads)
	})
}

func TestAProxysAuthorityMayBeInTheStoreAlone(t *testing.T) {
	explore(t, func(w *world) {
		company := simnet.NewCA("Company Root", w.network.Now())
		w.proxies["proxy.example:443"] = w.secured(company.Server("proxy.example"), w.tunnel)
		w.through("https", "proxy.example")
		loads := 0
		w.dialer.TLSConfig = nil
		w.dialer.Roots = dial.NewRoots(system(&loads, company), w.network.CA().Certificate().Raw)
		require.NoError(w, w.speak("mqtts"))
		assert.Len(w, w.dials, 2)
		assert.Len(w, w.asked, 1, "one tunnel")
	})
}

// A board without a certificate store is a process whose environment points at none: the store is
// looked for once a process.
func TestABoardWithoutACertificateStoreConnects(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the store is not where the environment says")
	}
	if os.Getenv("DIAL_TEST_CHILD") == "" {
		child := exec.Command(
			os.Args[0], "-test.run=^TestABoardWithoutACertificateStoreConnects$", "-test.v",
		)
		child.Env = append(os.Environ(), "DIAL_TEST_CHILD=1",
			"SSL_CERT_FILE=/nonexistent/file", "SSL_CERT_DIR=/nonexistent/directory")
		out, err := child.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "no store, and connected")
		return
	}
	store, err := x509.SystemCertPool()
	require.NoError(t, err)
	require.True(t, store.Equal(x509.NewCertPool()), "this process has no store")
	explore(t, func(w *world) {
		w.dialer.TLSConfig = nil
		require.ErrorContains(w, w.speak("mqtts"), "unknown authority", "of the public roots")
		w.dialer.Roots = dial.NewRoots(x509.SystemCertPool, w.network.CA().Certificate().Raw)
		require.NoError(w, w.speak("mqtts"))
		require.NoError(w, w.speak("https"))
		assert.Len(w, w.dials, 3)
	})
	t.Log("no store, and connected")
}

// crossSigned is a certificate of one authority, signed by another, that has expired.
func crossSigned(w *world, by, of *simnet.CA) []byte {
	template := *of.Certificate()
	template.NotBefore = w.network.Now().Add(-2 * time.Hour)
	template.NotAfter = w.network.Now().Add(-time.Hour)
	pem, err := by.KeyPEM()
	require.NoError(w, err)
	pair, err := tls.X509KeyPair(by.PEM(), pem)
	require.NoError(w, err)
	der, err := x509.CreateCertificate(
		rand.Reader, &template, by.Certificate(), of.Certificate().PublicKey, pair.PrivateKey,
	)
	require.NoError(w, err)
	return der
}
