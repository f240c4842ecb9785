// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
)

// What a client of the program's own says at CONNECT is what Dial says.
func TestIdentityOfADeviceAndOfAModule(t *testing.T) {
	device := hubconn.Hub{Host: host, DeviceID: "sensor-042"}
	module := hubconn.Hub{Host: host, DeviceID: "sensor-042", ModuleID: "camera"}
	for _, row := range []struct {
		hub                          hubconn.Hub
		dialer                       hubconn.Dialer
		clientID, username, resource string
	}{
		{
			device, hubconn.Dialer{}, "sensor-042",
			host + "/sensor-042/?api-version=2021-04-12&DeviceClientType=rehome-go",
			host + "/devices/sensor-042",
		},
		{
			module, hubconn.Dialer{
				APIVersion: "2020-09-30", UserAgent: "acme/1.0 (arm)", ModelID: "dtmi:acme:cam;1",
			}, "sensor-042/camera",
			host + "/sensor-042/camera/?api-version=2020-09-30" +
				"&DeviceClientType=acme%2F1.0%20%28arm%29&model-id=dtmi%3Aacme%3Acam%3B1",
			host + "/devices/sensor-042/modules/camera",
		},
	} {
		assert.Equal(t, row.clientID, row.hub.ClientID())
		assert.Equal(t, row.username, row.dialer.Username(row.hub))
		assert.Equal(t, row.resource, row.hub.Resource())
	}
}

func TestTheErrorOfAnotherClientHasAClass(t *testing.T) {
	alert := func(code uint8) error {
		return &net.OpError{Op: "remote error", Err: tls.AlertError(code)}
	}
	for _, row := range []struct {
		err   error
		class hubconn.Class
	}{
		{nil, hubconn.Unreachable},
		{io.EOF, hubconn.Unreachable},
		{x509.UnknownAuthorityError{}, hubconn.Untrusted},
		{&tls.CertificateVerificationError{Err: errors.New("old")}, hubconn.Untrusted},
		{alert(116), hubconn.Rejected},
		{alert(80), hubconn.Unreachable},
		{&hubconn.Error{Class: hubconn.Server, Err: alert(116)}, hubconn.Server},
	} {
		wrapped := row.err
		if wrapped != nil {
			wrapped = fmt.Errorf("network error: %w", row.err)
		}
		assert.Equal(t, row.class, hubconn.ClassOf(wrapped), "%v", row.err)
	}
	assert.Equal(t, hubconn.Unreachable, hubconn.ClassOfReturnCode(0, 0))
}
