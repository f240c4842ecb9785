package hubconn

import (
	"context"
	"crypto/tls"
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
