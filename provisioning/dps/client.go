// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/tls"
	stdx509 "crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/sas"
)

// Transport is how a [Client] registers.
type Transport int

// The transports. A status lookup exists over HTTPS only and uses it whatever the Transport.
const (
	// Auto leaves the choice to whoever makes several attempts, as the Device of package
	// provisioning does; a Client, which makes one, uses HTTPS.
	Auto          Transport = iota
	HTTPS                   // port 443
	MQTT                    // MQTT 3.1.1 over TLS, port 8883
	MQTTWebSocket           // MQTT 3.1.1 over a secure WebSocket, port 443
)

// String returns "auto", "https", "mqtt" or "ws".
func (t Transport) String() string {
	switch t {
	case Auto:
		return "auto"
	case HTTPS:
		return "https"
	case MQTT:
		return "mqtt"
	case MQTTWebSocket:
		return "ws"
	}
	return "transport " + strconv.Itoa(int(t))
}

// DefaultEndpoint is the host of DPS where a [Client] names none: the service's global endpoint.
const DefaultEndpoint = "global.azure-devices-provisioning.net"

// Defaults of a Client.
const (
	defaultAPIVersion = "2021-06-01"
	issuingAPIVersion = "2026-11-02-preview" // with a request for a certificate
	maxUserAgent      = 512
)

// Limits on waiting.
const (
	httpsRequestTimeout = 30 * time.Second
	mqttRequestTimeout  = 60 * time.Second // as the official C SDK's answer timeout
	dialTimeout         = 30 * time.Second
	// an overloaded service may hold a CONNECT for a minute before it answers
	connackTimeout = 75 * time.Second
)

// Client talks to DPS. It makes one attempt at what it is asked and never retries: the Device of
// package provisioning owns the loop.
//
// A Client holds no connection between calls and may be used from several goroutines at once, as
// long as nobody changes its fields. The zero value needs IDScope and Attestation.
type Client struct {
	// IDScope names the DPS instance, such as "0ne00ABCDEF": Azure portal, the instance's overview
	// page. A wrong one is answered with 404 or 401.
	IDScope string

	// Attestation is who the device is.
	Attestation Attestation

	// Endpoint is the host of DPS, with a port if it is not the transport's own. Empty:
	// global.azure-devices-provisioning.net. With Transport MQTT, a port counts for MQTT only;
	// Lookup and Time, which use HTTPS, then go to port 443.
	Endpoint string

	// Transport carries registrations. Zero: HTTPS.
	Transport Transport

	// APIVersion is the service's API version. Empty: 2021-06-01, and 2026-11-02-preview for a
	// [Registration] with a CSR. Versions before 2019-03-31 know no payload, those before
	// 2025-07-01-preview issue no certificate, and only 2026-11-02-preview names the hub's
	// [Assignment].ConnectionProfile.
	APIVersion string

	// UserAgent names the product to the service (User-Agent over HTTPS, ClientVersion over MQTT).
	// Empty: "rehome" and the platform.
	UserAgent string

	// TLSConfig is cloned for each connection. Set RootCAs for private roots, and Time for a clock
	// that is better than the system's: tokens and certificate checks both use it. Nil: the public
	// roots, as [hubconn.Dialer.TLSConfig] has them, and the system's clock. The least version is
	// TLS 1.2 in any case, the server name that of the endpoint; InsecureSkipVerify is refused. A
	// chain with an RSA key of less than 2048 bits, root included, does not verify.
	// ClientSessionCache is not used where a client certificate is presented: a resumed session has
	// the identity it was made with, which may be another device's or an earlier certificate's.
	TLSConfig *tls.Config

	// DialContext opens the TCP connections, to a proxy's address if there is one. Nil: a
	// [net.Dialer].
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy chooses the proxy, as [hubconn.Dialer.Proxy] does. Nil: [http.ProxyFromEnvironment],
	// which has none for MQTT on port 8883.
	Proxy func(*http.Request) (*url.URL, error)

	// RequestTimeout bounds each request, not the whole registration. Zero: 30 s over HTTPS,
	// dialling included; 60 s over MQTT from request to response, besides 30 s to connect and 75 s
	// for the CONNACK.
	RequestTimeout time.Duration
}

// Validate reports the first wrong field in one line, before any use of the network. Every other
// method begins with it.
func (c *Client) Validate() error {
	if err := c.check(); err != nil {
		return invalid(err)
	}
	if err := c.Attestation.Validate(); err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return err
		}
		return invalid(err)
	}
	return nil
}

func (c *Client) check() error {
	if c.IDScope == "" {
		return errors.New("id scope is empty: copy it from the overview page of the dps instance")
	}
	switch {
	case sas.LooksLikeKey(c.IDScope):
		return errors.New("id scope looks like a key: it has letters and digits only, as in " +
			"0ne00ABCDEF")
	case strings.Contains(c.IDScope, "."):
		return fmt.Errorf(
			"id scope %q is the name of a host: the id scope stands on the overview page of the "+
				"dps instance, as in 0ne00ABCDEF", oneline.Of(c.IDScope, 64),
		)
	}
	if len(c.IDScope) > 64 || strings.ContainsFunc(c.IDScope, func(r rune) bool {
		return r > 0x7f || !isAlphanumeric(byte(r))
	}) {
		return fmt.Errorf(
			"id scope %q is not one: it has letters and digits only, as in 0ne00ABCDEF",
			oneline.Of(c.IDScope, 64),
		)
	}
	if c.Attestation == nil {
		return errors.New("attestation is missing: set a SymmetricKey or an X509")
	}
	if c.Transport < Auto || c.Transport > MQTTWebSocket {
		return fmt.Errorf("%v does not exist: use HTTPS, MQTT or MQTTWebSocket", c.Transport)
	}
	if _, tpm := c.Attestation.(Endorsed); tpm && c.Transport > HTTPS {
		return fmt.Errorf(
			"transport %v does not serve a tpm: the service challenges one over https only: use "+
				"HTTPS", c.Transport,
		)
	}
	if c.Endpoint != "" {
		if err := c.checkEndpoint(); err != nil {
			return err
		}
	}
	if strings.ContainsFunc(c.APIVersion, func(r rune) bool {
		return r > 0x7f || !isAlphanumeric(byte(r)) && r != '-' && r != '.'
	}) {
		return fmt.Errorf(
			"api version %q is not one: it looks like %s", oneline.Of(c.APIVersion, 64),
			defaultAPIVersion,
		)
	}
	if len(c.UserAgent) > maxUserAgent ||
		strings.ContainsFunc(c.UserAgent, func(r rune) bool { return r < ' ' || r > '~' }) {
		return fmt.Errorf("user agent must be at most %d printable ascii characters", maxUserAgent)
	}
	if c.TLSConfig != nil && c.TLSConfig.InsecureSkipVerify {
		return errors.New(
			"tls config: insecure skip verify is refused: put the server's authority into root cas",
		)
	}
	if c.TLSConfig != nil && c.TLSConfig.RootCAs != nil &&
		c.TLSConfig.RootCAs.Equal(stdx509.NewCertPool()) {
		return errors.New("tls config: root cas are empty: look at what AppendCertsFromPEM " +
			"returns, or leave them nil for the public ones")
	}
	if c.RequestTimeout < 0 {
		return fmt.Errorf(
			"request timeout %v is negative: use zero for the default", c.RequestTimeout,
		)
	}
	return nil
}

// checkEndpoint finds what is no host or another service's, and a port of the other protocol, at
// which nobody would answer.
func (c *Client) checkEndpoint() error {
	host, port := splitEndpoint(c.Endpoint)
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case !isHostName(host) && net.ParseIP(host) == nil, port != "" && (err != nil || n == 0):
		if sas.LooksLikeKey(c.Endpoint) {
			return errors.New("endpoint looks like a key: it is host or host:port")
		}
		return fmt.Errorf(
			"endpoint %q is not host or host:port: leave out scheme and path",
			oneline.Of(c.Endpoint, 300),
		)
	case strings.Contains(strings.ToLower(host), ".azure-devices."):
		return fmt.Errorf(
			"endpoint %q is a hub: dps tells the device which one is its own, so leave it empty",
			host,
		)
	case n == 8883 && c.Transport != MQTT:
		return errors.New("endpoint has port 8883, which is for MQTT: leave it out, or set the " +
			"transport to MQTT")
	case n == 443 && c.Transport == MQTT:
		return errors.New("endpoint has port 443, which is for HTTPS: leave it out, or set the " +
			"transport to HTTPS or MQTTWebSocket")
	}
	return nil
}

// host is the endpoint without port.
func (c *Client) host() string {
	host, _ := splitEndpoint(c.endpoint())
	return host
}

// address is host:port for one protocol: mqtt's own port, or the one that HTTPS and WebSocket
// share.
func (c *Client) address(mqtt bool) string {
	host, port := splitEndpoint(c.endpoint())
	if port == "" || mqtt != (c.Transport == MQTT) {
		port = "443"
		if mqtt {
			port = "8883"
		}
	}
	return net.JoinHostPort(host, port)
}

func (c *Client) endpoint() string {
	if c.Endpoint == "" {
		return DefaultEndpoint
	}
	return c.Endpoint
}

func (c *Client) apiVersion(csr bool) string {
	switch {
	case c.APIVersion != "":
		return c.APIVersion
	case csr:
		return issuingAPIVersion
	}
	return defaultAPIVersion
}

func (c *Client) userAgent() string {
	if c.UserAgent == "" {
		return "rehome (" + runtime.GOOS + "; " + runtime.GOARCH + ")"
	}
	return c.UserAgent
}

func (c *Client) requestTimeout(standard time.Duration) time.Duration {
	if c.RequestTimeout == 0 {
		return standard
	}
	return c.RequestTimeout
}

// now is the clock that tokens and certificate checks go by.
func (c *Client) now() time.Time {
	if c.TLSConfig != nil && c.TLSConfig.Time != nil {
		return c.TLSConfig.Time()
	}
	return time.Now()
}

// fail completes an error with what every error of this client says.
func (c *Client) fail(e *Error) *Error {
	e.Endpoint = c.host()
	return e
}
