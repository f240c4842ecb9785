// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// takingTPM takes in whatever it is given, and signs with it.
type takingTPM struct {
	dps.SymmetricKey
	taken map[dps.KeyUse][][]byte
}

func (d *takingTPM) PublicKeys(context.Context) (endorsement, storageRoot []byte, err error) {
	return []byte{1}, nil, nil
}

func (d *takingTPM) Activate(_ context.Context, use dps.KeyUse, wrapped []byte) error {
	d.taken[use] = append(d.taken[use], wrapped)
	return nil
}

func (d *takingTPM) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

// Whatever a service answers to a TPM, challenges are answered a bounded number of times, and the
// TPM is given no more than the answer had.
func FuzzChallenge(f *testing.F) {
	s := newSpeaker()
	const key = `{"authenticationKey":"QUJD"}`
	for _, answer := range []string{
		"401 \r\nConnection: close\r\n\r\n" + key,
		"401 \r\nContent-Length: 28\r\n\r\n" + key,
		"401 \r\n\r\n" + `{"authenticationKey":"no base64"}`,
		"401 \r\n\r\n" + `{"authenticationKey":7}`, "401 \r\n\r\n{}", "200 \r\n\r\n" + key,
		"200 \r\nx-ms-request-id: 1\r\n\r\n" + `{"assignedHub":"hub-a.azure-devices.net",` +
			`"deviceId":"d","status":"assigned","tpm":{"authenticationKey":"QUJDREU="}}`,
		"200 \r\n\r\n" + `{"assignedHub":"hub-a.azure-devices.net","deviceId":"d","status":` +
			`"assigned","registrationState":{"tpm":{"authenticationKey":"QUJD"}},"tpm":[]}`,
		"200 \r\n\r\n" + `{"assignedHub":"hub-a.azure-devices.net","deviceId":"d",` +
			`"status":"assigned"}`,
	} {
		f.Add([]byte("HTTP/1.1 " + answer))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		asked := make(chan *http.Request, 10)
		tpm := &takingTPM{taken: map[dps.KeyUse][][]byte{}}
		tpm.SymmetricKey = dps.SymmetricKey{ID: clientID, Key: speakerKey}
		c := s.client(said, asked)
		c.Attestation = tpm
		assignment, err := c.Lookup(t.Context())
		assert.LessOrEqual(t, len(asked), 4, "the first, one without a token, two challenges")
		assert.LessOrEqual(t, len(tpm.taken[dps.ForDPS]), 2)
		assert.LessOrEqual(t, len(tpm.taken[dps.ForHub]), 1)
		for _, taken := range tpm.taken {
			for _, wrapped := range taken {
				assert.LessOrEqual(t, base64.StdEncoding.EncodedLen(len(wrapped)), len(said))
			}
		}
		if err == nil {
			assert.NotEmpty(t, assignment.Hub)
			assert.NotEmpty(t, assignment.DeviceID)
			return
		}
		assert.Zero(t, assignment)
		op := "lookup"
		if strings.HasPrefix(err.Error(), "dps: activate") {
			op = "activate"
		}
		told(t, op, <-asked, err)
	})
}
