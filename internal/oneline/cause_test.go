// SPDX-License-Identifier: Apache-2.0

package oneline_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/oneline"
)

func TestACauseHasNothingThatDiffersFromOneTimeToTheNext(t *testing.T) {
	reset := func(port int) error {
		return &net.OpError{
			Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: port},
			Addr: &net.TCPAddr{IP: net.IPv4(20, 1, 2, 3), Port: 8883},
			Err:  os.NewSyscallError("read", syscall.ECONNRESET),
		}
	}
	expired := func(now time.Time) error {
		return &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{
			Cert: &x509.Certificate{NotAfter: now}, Reason: x509.Expired, Detail: now.String(),
		}}
	}
	for want, errs := range map[string][]error{
		"read: connection reset by peer": {
			reset(40001), fmt.Errorf("mqtt: connection ended: %w", reset(51234)),
		},
		"no such host": {
			&net.DNSError{Name: "hub-a.azure-devices.net", Server: "10.0.0.1:53", IsNotFound: true},
			&net.OpError{Op: "dial", Err: &net.DNSError{Name: "hub-b", IsNotFound: true}},
		},
		"the certificate has expired or is not yet valid": {
			expired(time.Unix(0, 0)), expired(time.Unix(1e9, 0)),
		},
		"dial: timeout": {
			&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
			&url.Error{Op: "Put", URL: "https://a/1", Err: &net.OpError{
				Op: "dial", Err: os.ErrDeadlineExceeded,
			}},
		},
		"timeout": {context.DeadlineExceeded, &url.Error{Op: "Get", Err: os.ErrDeadlineExceeded}},
		"EOF":     {io.EOF, &url.Error{Op: "Put", URL: "https://a/2", Err: io.EOF}},
		"the entry of # is torn: # bytes": {
			errors.New("the entry of 2026-01-31T09:00:00Z is torn: 12 bytes"),
			errors.New("the entry of 2027-01-31T09:00:00Z is torn: 99 bytes"),
		},
		"# of #: no route to #, by #": {
			errors.New("/data/sensor-a/key.pem of hub-a.azure-devices.net: no route to " +
				"hub-a.azure-devices.net, by https://proxy/"),
			errors.New(`D:\data\b.pem of b.contoso.net: no route to hub-b.azure-devices.net, by "proxy"`),
		},
		"proxy #: refused": {
			errors.New("proxy 10.0.0.1:3128: refused"), errors.New("proxy\n10.0.0.2:80: refused"),
		},
	} {
		for _, err := range errs {
			assert.Equal(t, want, oneline.Cause(err), "%v", err)
		}
	}
}
