// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/internal/sas"
)

// Credential proves to the hub who the device is: by a client certificate or by a token. Its
// methods are called at every attempt and every renewal, possibly from several goroutines at once,
// and may be slow (a TPM, an HSM) as long as they return when ctx ends. At least one of the two has
// to return something; an error from either fails the attempt before anything is sent, and it is in
// that error's tree.
type Credential interface {
	// Certificate returns the client certificate with its chain, and the key to sign with; nil, nil
	// when the device has none. The caller does not change it.
	Certificate(ctx context.Context) (*tls.Certificate, error)
	// Token returns a shared access signature for resource, "{host}/devices/{deviceId}", that ends
	// at expiry; "" when the device has none (Azure docs: "Control access to IoT Hub with shared
	// access signatures"). It may end at another time: the connection is renewed by what its own
	// se says, and by Dialer.TokenTTL only where that cannot be read.
	Token(ctx context.Context, resource string, expiry time.Time) (string, error)
}

// identify gets the certificate and the token of a credential, whichever it has.
func (d *Dialer) identify(
	ctx context.Context, hub Hub, credential Credential,
) (*tls.Certificate, string, error) {
	var token string
	certificate, err := credential.Certificate(ctx)
	if err == nil {
		token, err = credential.Token(ctx, hub.Resource(), d.clock().Add(d.tokenTTL()))
	}
	if err == nil && certificate == nil && token == "" {
		err = errors.New("it has neither a certificate nor a token")
	}
	if err != nil {
		return nil, "", fmt.Errorf("credential: %w", err)
	}
	return certificate, token, nil
}

// expiry is when a token ends, by the monotonic clock: what its own se says, since a credential may
// return one that it has had for a while, or one for longer than it was asked for. A token whose se
// cannot be read, or is over although the credential has just returned it (the clock here is wrong
// then), lives for TokenTTL from when it was requested. The zero time is that of no token.
func (d *Dialer) expiry(token string, requested time.Time) time.Time {
	if token == "" {
		return time.Time{}
	}
	if signature, err := sas.Parse(token); err == nil {
		if left := signature.Expiry.Sub(d.clock()); left > 0 {
			return time.Now().Add(left)
		}
	}
	return requested.Add(d.tokenTTL())
}
