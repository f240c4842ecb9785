// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/tpmkey"
	"github.com/rehome-iot/rehome/internal/uuid"
)

// challengeLifetime is for how long the key of a challenge signs a device's requests. The service's
// own is not published.
const challengeLifetime = time.Hour

// A challenge is the key that a device with a TPM was given to sign its registration with.
type challenge struct {
	key  []byte
	till time.Time
}

// attestByTPM attests a device over HTTPS, in two steps: a request without a token is answered 401
// with a key that the device's TPM alone can unwrap, and the token of the same request, sent again,
// has to be signed with it. It may begin anew at any time. The storage root key is the device's own
// word (Azure docs: "TPM attestation").
func (s *Server) attestByTPM(c *call, e *IndividualEnrollment) (attested, int, string) {
	if c.transport != HTTPS { // the service has it over HTTPS and AMQP alone
		return s.unauthorized(c, "a TPM is attested over HTTPS alone")
	}
	if c.op != Poll && !c.offersKeyOf(e) {
		c.reason = "the endorsement key is not the enrollment's"
		return attested{}, codeNoRegistration, ""
	}
	if c.authorization == "" {
		if c.op == Poll {
			return s.unauthorized(c, "there is no token")
		}
		key := make([]byte, 32)
		_, _ = rand.Read(key) // never fails
		wrapped, err := c.wrap(key)
		if err != nil {
			return attested{}, codeBadRequest, "tpm: " + err.Error()
		}
		s.mu.Lock()
		s.challenges[foldID(c.registrationID)] = challenge{key, time.Now().Add(challengeLifetime)}
		s.mu.Unlock()
		return attested{challenge: wrapped}, 0, ""
	}
	signature, problem := s.token(c)
	s.mu.Lock()
	given, ok := s.challenges[foldID(c.registrationID)]
	known := s.records[foldID(c.registrationID)]
	s.mu.Unlock()
	if signature == nil || !ok || time.Now().After(given.till) || !signature.Verify(given.key) {
		if problem == "" {
			problem = "the token is not signed with the key of the last challenge, or too late"
		}
		return s.unauthorized(c, problem)
	}
	hubKey := newHubKey()
	if known != nil && known.by == TypeTPM && known.hubKey != "" {
		hubKey = known.hubKey // it has one already
	}
	dev := attested{
		terms: e.terms(), by: TypeTPM, identity: hubtest.Device{PrimaryKey: hubKey}, hubKey: hubKey,
	}
	if c.op == Register {
		key, err := base64.StdEncoding.DecodeString(dev.hubKey)
		if err == nil {
			dev.wrapped, err = c.wrap(key)
		}
		if err != nil {
			return attested{}, codeBadRequest, "tpm: " + err.Error()
		}
	}
	return dev, 0, ""
}

// newHubKey makes the key of an identity at the hub: a TPM signs with 32 bytes.
func newHubKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}

// offersKeyOf says whether the request is by the TPM of an enrollment.
func (c *call) offersKeyOf(e *IndividualEnrollment) bool {
	if c.tpm == nil {
		return false
	}
	enrolled, err := base64.StdEncoding.DecodeString(e.Attestation.TPM.EndorsementKey)
	if err != nil {
		return false
	}
	offered, err := base64.StdEncoding.DecodeString(c.tpm.EndorsementKey)
	return err == nil && bytes.Equal(enrolled, offered)
}

// wrap wraps a key for the TPM that the request tells of, in base64.
func (c *call) wrap(key []byte) (string, error) {
	var keys [2]*tpmkey.Public
	for i, text := range []string{c.tpm.EndorsementKey, c.tpm.StorageRootKey} {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return "", err
		}
		if keys[i], err = tpmkey.ParsePublic(raw); err != nil {
			return "", err
		}
	}
	blob, err := tpmkey.Wrap(keys[0], keys[1], key)
	return base64.StdEncoding.EncodeToString(blob), err
}

// challengeWith is the response that holds the key of a challenge. It has no error code, by which
// clients know it.
func challengeWith(wrapped string) response {
	return response{
		status: 401, requestID: uuid.New(), contentType: contentJSON, body: encode(struct {
			Message           string `json:"message"`
			AuthenticationKey string `json:"authenticationKey"`
			KeyName           string `json:"keyName"`
		}{"Authorization required, resend request using supplied key", wrapped, "registration"}),
	}
}
