package hubconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// Credential proves to the hub who the device is: by a client certificate or by a token. It is
// asked at every attempt and at every renewal, possibly from several goroutines at once, and may take its time (a TPM, an
// HSM) within ctx.
type Credential interface {
	// Certificate returns the client certificate with its chain; nil, nil is none.
	Certificate(ctx context.Context) (*tls.Certificate, error)
	// Token returns a shared access signature for resource, "{host}/devices/{deviceId}", that ends at expiry; "" is none.
	Token(ctx context.Context, resource string, expiry time.Time) (string, error)
}

// identify asks the credential for what it has.
func (d *Dialer) identify(ctx context.Context, hub Hub, credential Credential) (*tls.Certificate, string, error) {
	var token string
	certificate, err := credential.Certificate(ctx)
	if err == nil {
		token, err = credential.Token(ctx, hub.resource(), d.clock().Add(d.tokenTTL()))
	}
	if err == nil && certificate == nil && token == "" {
		err = errors.New("it has neither a certificate nor a token")
	}
	if err != nil {
		return nil, "", fmt.Errorf("credential: %w", err)
	}
	return certificate, token, nil
}
