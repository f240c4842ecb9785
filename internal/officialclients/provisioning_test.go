// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// state is what the official client makes of a registration.
type state struct {
	RegistrationID string `json:"registrationId"`
	AssignedHub    string `json:"assignedHub"`
	DeviceID       string `json:"deviceId"`
	Status         string `json:"status"`
	Substatus      string `json:"substatus"`
	Payload        any    `json:"payload"`
}

var allTransports = []string{"https", "mqtt", "ws"}

func (w *world) registering(id, transport string, more with) with {
	args := with{
		"host": w.dps.Endpoint(), "idScope": w.dps.IDScope(), "registrationId": id,
		"transport": transport,
	}
	for k, v := range more {
		args[k] = v
	}
	return args
}

// pemPair writes a certificate as the clients want it.
func pemPair(t *testing.T, c tls.Certificate) with {
	t.Helper()
	var chain []byte
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	require.NoError(t, err)
	return with{
		"cert":    string(chain),
		"certKey": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

func TestOfficialClientRegistersWithEveryCredentialOverEveryTransport(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	factory := simnet.NewCA("Factory", w.network.Now())
	line := factory.Intermediate("Factory line 1")
	group := key("group")
	require.NoError(t, w.dps.EnrollGroup(
		dpstest.EnrollmentGroup{EnrollmentGroupID: "keys", Attestation: dpstest.Keys(group, "")},
	))
	require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "certificates",
		Attestation:       dpstest.SigningCertificates(factory.Certificate(), nil),
	}))

	for _, transport := range allTransports {
		for name, credential := range map[string]func(*testing.T, string) with{
			"key": func(t *testing.T, id string) with {
				require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
					RegistrationID: id, Attestation: dpstest.Keys(key(id), ""),
				}))
				return with{"key": key(id)}
			},
			"secondary key": func(t *testing.T, id string) with {
				require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
					RegistrationID: id, Attestation: dpstest.Keys("", key(id)),
				}))
				return with{"key": key(id)}
			},
			"derived key": func(t *testing.T, id string) with {
				derived, err := dps.DeriveDeviceKey(group, id)
				require.NoError(t, err)
				return with{"key": derived}
			},
			"own certificate": func(t *testing.T, id string) with {
				own := simnet.NewCA("Somebody", w.network.Now()).Device(id)
				require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
					RegistrationID: id, Attestation: dpstest.ClientCertificates(own.Leaf, nil),
				}))
				return pemPair(t, own)
			},
			"group's certificate": func(t *testing.T, id string) with { return pemPair(t, line.Device(id)) },
		} {
			t.Run(transport+", "+name, func(t *testing.T) {
				t.Parallel()
				id := "official-" + transport + "-" + map[string]string{
					"key": "k", "secondary key": "s", "derived key": "d", "own certificate": "o",
					"group's certificate": "g",
				}[name]
				var got state
				node.must(t, "register", w.registering(id, transport, credential(t, id)), &got)
				assert.Equal(t, "assigned", got.Status)
				assert.Equal(t, id, got.DeviceID)
				assert.Equal(t, id, got.RegistrationID)
				assert.Equal(t, "initialAssignment", got.Substatus)
				assert.Contains(t, []string{hostA, hostB}, got.AssignedHub)
			})
		}
	}
}
