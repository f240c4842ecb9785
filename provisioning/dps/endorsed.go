// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// KeyUse is what a key is for that the service has wrapped for a TPM.
type KeyUse int

// The uses of a key, and the resources of the tokens that it signs.
const (
	ForDPS KeyUse = iota // "{ID scope}/registrations/{registration ID}"
	ForHub               // "{hub}/devices/{device ID}"
)

// String returns "dps" or "hub".
func (u KeyUse) String() string {
	if u == ForHub {
		return "hub"
	}
	return "dps"
}

// Endorsed is an attestation by a TPM 2.0. The service knows the TPM by its endorsement key, and
// challenges it at each registration: it wraps a key that this TPM alone can take in, and that has
// to sign what follows. Another one, for the hub, comes with the assignment. The keys never leave
// the TPM.
//
// It works over HTTPS only, and with individual enrollments only.
//
// Token returns "" for a resource whose key has not been activated, or is not there any more.
//
// Azure docs: "TPM attestation" of DPS.
type Endorsed interface {
	Attestation

	// PublicKeys returns the TPM's public endorsement key and storage root key, a marshalled
	// TPM2B_PUBLIC each.
	PublicKeys(ctx context.Context) (endorsement, storageRoot []byte, err error)

	// Activate takes in a key that the service has wrapped for this TPM, in the place of an earlier
	// one for the same use. wrapped is TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET, TPM2B_PRIVATE,
	// TPM2B_ENCRYPTED_SECRET and TPM2B_PUBLIC, and may be followed by more.
	Activate(ctx context.Context, use KeyUse, wrapped []byte) error
}

// maxChallenges is how often one request is sent again for a challenge. The service challenges
// once; a second time makes up for a key that it forgot meanwhile.
const maxChallenges = 2

// wireTPM is the TpmAttestation object. Azure REST API: Runtime Registration, Register Device.
type wireTPM struct {
	EndorsementKey []byte `json:"endorsementKey"`
	StorageRootKey []byte `json:"storageRootKey,omitempty"`
}

// endorsement is what a TPM tells of itself in each request, nil for other attestations.
func (c *Client) endorsement(ctx context.Context, op string) (*wireTPM, error) {
	tpm, ok := c.Attestation.(Endorsed)
	if !ok {
		return nil, nil
	}
	endorsement, root, err := tpm.PublicKeys(ctx)
	if err != nil {
		return nil, c.fail(&Error{Op: op, Err: err})
	}
	if len(endorsement) == 0 {
		return nil, invalid(errors.New("tpm: it has no endorsement key: make one"))
	}
	return &wireTPM{endorsement, root}, nil
}

// attest sends a request that has the device's body. A TPM has to answer the challenge that it
// brings first: a registration begins with one, anything else where the TPM has no key for DPS, or
// one that the service does not know any more.
func (x *httpsExchange) attest(ctx context.Context, op, method, path string) (response, *Error) {
	tpm, ok := x.client.Attestation.(Endorsed)
	if !ok {
		return x.do(ctx, op, method, path, x.body)
	}
	x.token = token{client: x.client, withheld: op == "register"}
	for challenges := 0; ; {
		a, failure := x.do(ctx, op, method, path, x.body)
		if failure != nil || a.status != http.StatusUnauthorized {
			return a, failure
		}
		wrapped := challengeIn(a.body)
		switch {
		case wrapped == "" && challenges == 0 && !x.token.withheld && x.token.signed:
			x.token = token{client: x.client, withheld: true}
		case wrapped == "":
			return a, nil
		case challenges == maxChallenges:
			return response{}, a.markedBy(true).fail(op, fmt.Errorf(
				"the service challenges the tpm again after %d keys: is the clock right?",
				challenges,
			))
		default:
			challenges++
			if failure := activate(ctx, tpm, ForDPS, wrapped, a); failure != nil {
				return response{}, failure
			}
			x.token = token{client: x.client}
		}
	}
}

// challengeIn is the key of a challenge, "" if the answer is none.
func challengeIn(body []byte) string {
	var challenge wireError
	if decode(body, &challenge) != nil {
		return ""
	}
	return challenge.AuthenticationKey
}

// activate has the TPM take a key in.
func activate(
	ctx context.Context, tpm Endorsed, use KeyUse, encoded string, a response,
) *Error {
	const op = "activate"
	a = a.markedBy(true)
	wrapped, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return a.fail(op, unreadable("the answer's authenticationKey is not base64"))
	}
	if err := tpm.Activate(ctx, use, wrapped); err != nil {
		return &Error{Op: op, Date: a.serviceDate(), Err: fmt.Errorf(
			"the tpm does not take in the key for the %v: is it the one that is enrolled? %w",
			use, err,
		)}
	}
	return nil
}

// takeHubKey has a TPM take in the key for the hub, which comes with the assignment. A device with
// an issued certificate, or whose TPM has the key from before, can do without.
func (c *Client) takeHubKey(ctx context.Context, assignment Assignment, a response) *Error {
	tpm, ok := c.Attestation.(Endorsed)
	if !ok {
		return nil
	}
	type tpmKey struct {
		TPM struct {
			AuthenticationKey string `json:"authenticationKey"`
		} `json:"tpm"`
	}
	var answer struct {
		tpmKey        // of a look-up
		State  tpmKey `json:"registrationState"`
	}
	err := json.Unmarshal(a.body, &answer)
	encoded := answer.State.TPM.AuthenticationKey + answer.TPM.AuthenticationKey
	switch {
	case err != nil:
		return a.markedBy(true).fail("activate", unreadable("the answer's field tpm is not one"))
	case encoded != "":
		return activate(ctx, tpm, ForHub, encoded, a)
	case assignment.IssuedChain != nil:
		return nil
	}
	sas, err := tpm.Token(
		ctx, assignment.Hub+"/devices/"+assignment.DeviceID, c.now().Add(tokenLife),
	)
	if err != nil {
		return &Error{Op: "activate", Err: err}
	}
	if sas == "" {
		return a.markedBy(true).fail("activate", unreadable(
			"the answer has no field registrationState.tpm.authenticationKey, the key for the hub",
		))
	}
	return nil
}
