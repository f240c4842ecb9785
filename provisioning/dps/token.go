// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"time"
)

// A token lives for an hour; one that is about to end is not used any more, as the service's clock
// may be ahead.
const (
	tokenLife   = time.Hour
	tokenMargin = 5 * time.Minute
)

// token is a SAS token for DPS, renewed when near its end.
type token struct {
	client *Client
	value  string
	signed bool // false until the first use, and for a credential that has no tokens
	// withheld keeps a token from being sent, so that the service challenges a TPM.
	withheld bool
	expiry   time.Time
}

// get returns the token to send now, "" for a credential that has none.
func (t *token) get(ctx context.Context) (string, error) {
	if t.withheld {
		return "", nil
	}
	if t.signed && !t.stale() {
		return t.value, nil
	}
	attestation := t.client.Attestation
	expiry := t.client.now().Add(tokenLife)
	value, err := attestation.Token(
		ctx, t.client.IDScope+"/registrations/"+attestation.RegistrationID(), expiry,
	)
	if err != nil {
		return "", err
	}
	t.signed = value != ""
	if t.signed {
		// The key name is no part of what is signed; the official C, C# and Node clients send it.
		value += "&skn=registration"
	}
	t.value, t.expiry = value, expiry
	return value, nil
}

// stale is whether a token in use must be replaced. The clock may have been corrected since it was
// signed.
func (t *token) stale() bool {
	left := t.expiry.Sub(t.client.now())
	return t.signed && (left < tokenMargin || left > tokenLife)
}
