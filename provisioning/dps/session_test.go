// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestASessionCacheCarriesNoIdentityIntoAnother(t *testing.T) {
	ca := simnet.NewCA("Simulated Root", time.Now())
	resumed := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			if r.TLS.DidResume {
				resumed++
			}
			name := "nobody"
			if len(r.TLS.PeerCertificates) > 0 {
				name = r.TLS.PeerCertificates[0].Subject.CommonName
			}
			_, _ = fmt.Fprintf(w, `{"operationId":"5.a.b","status":"assigned",`+
				`"registrationState":{"assignedHub":"h.example.net","deviceId":%q}}`, name)
		},
	))
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{ca.Server("127.0.0.1")}, MaxVersion: tls.VersionTLS12,
		ClientAuth: tls.RequestClientCert,
	}
	server.StartTLS()
	defer server.Close()
	config := &tls.Config{RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	register := func(attestation dps.Attestation) string {
		client := &dps.Client{
			IDScope: "0ne00000001", Attestation: attestation, TLSConfig: config,
			Endpoint: strings.TrimPrefix(server.URL, "https://"), Proxy: clientNoProxy,
		}
		assignment, err := client.Register(t.Context(), dps.Registration{})
		require.NoError(t, err)
		return assignment.DeviceID
	}
	same := ca.Device("dev1")
	assert.Equal(t, "dev1", register(dps.X509{KeyPair: same}))
	assert.Equal(t, "dev1", register(dps.X509{KeyPair: same}))
	for _, id := range []string{"dev2", "dev1"} {
		assert.Equal(t, id, register(dps.X509{KeyPair: ca.Device(id)}))
	}
	assert.Zero(t, resumed)
	for range 2 {
		assert.Equal(t, "nobody", register(dps.SymmetricKey{ID: "dev3", Key: clientCanary}))
	}
	assert.Equal(t, 1, resumed, "without a certificate the cache serves")
}
