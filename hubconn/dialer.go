// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
	"github.com/rehome-iot/rehome/internal/mqtt"
	"github.com/rehome-iot/rehome/internal/oneline"
)

const (
	defaultAPIVersion = "2021-04-12"
	defaultUserAgent  = "rehome-go"
	defaultTokenTTL   = time.Hour

	defaultDialTimeout    = 30 * time.Second
	defaultConnectTimeout = 75 * time.Second

	// maxKeepAlive: the hub gives a silent client 1.5 times its keep-alive, and no one more than
	// 1767 s (Azure docs: "Communicate with an IoT hub using the MQTT protocol").
	maxKeepAlive = 1177 * time.Second
)

// Dialer opens connections to IoT hubs. The zero value is ready. It must not be changed while Dial
// runs or while a connection that it made is up; apart from that it is safe for concurrent use.
type Dialer struct {
	// DialContext opens the TCP connection, by name: host:8883, host:443 or a proxy's address. It
	// may be called from several goroutines at once. Default: net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLSConfig is the base of the TLS configuration; it is cloned. RootCAs are the authorities
	// that are trusted, and no others; without them these are the four of Azure's public cloud
	// (Azure docs: "TLS support in IoT Hub"), which are built in, and those of the system's store,
	// which is loaded when a server's authority is none of the four: Azure China's is one of the
	// store. Its Time, if set, is also the clock that token expiries are counted from. The server
	// name is always the hub's, the version at least 1.2, the client certificate the credential's;
	// InsecureSkipVerify is an error. A chain with an RSA key of less than 2048 bits, root
	// included, does not verify. A connection resumes its own TLS session when it is renewed; a
	// ClientSessionCache makes that so from one connection to the next, by the same certificate or
	// by tokens, and is never asked for the session of another certificate. CurvePreferences of
	// X25519 and P-256 alone make a connection 1.2 KB shorter, and leave out the key exchange of
	// TLS 1.3 that quantum computers do not break.
	TLSConfig *tls.Config
	// Proxy chooses the proxy, of scheme http, https, socks5 or socks5h, nil for none. Its request
	// shows scheme and host of the target: https for WebSocket and HTTPS, mqtts for the MQTT port;
	// one that returns a proxy whatever it is asked, as [http.ProxyURL]'s, is for the MQTT port
	// too. Default: [http.ProxyFromEnvironment], which has HTTPS_PROXY for https and none for
	// mqtts. The proxy is not shown the device's certificate, and its refusal is an error of class
	// Unreachable.
	Proxy func(*http.Request) (*url.URL, error)
	// Transport carries MQTT. MQTTWebSocket is for networks where port 8883 is closed. Default:
	// MQTT, over TLS on port 8883.
	Transport Transport
	// DialTimeout bounds name look-up, TCP, TLS and WebSocket upgrade together. Default: 30 s. Less
	// than slow mobile networks need turns a hub that can be reached into one that cannot.
	DialTimeout time.Duration
	// ConnectTimeout bounds the wait for CONNACK. Default: 75 s. The hub may send it a minute late
	// under load; giving up earlier and coming back makes that worse.
	ConnectTimeout time.Duration
	// KeepAlive is how long the hub is told to wait for a packet, in whole seconds. A ping leaves
	// 15 s before that (or after half of it, if that is later), and whenever the acknowledgement of
	// a message is 30 s late; a hub of which nothing comes for 10 s then is given up, 1 s later for
	// each 2 KiB that wait for their acknowledgement. Default: 240 s, also the idle limit of
	// Azure's load balancers. More than 1177 s counts as 1177 s.
	KeepAlive time.Duration
	// AckTimeout ends the connection when a message or a subscription is not acknowledged for as
	// long. Default: 4 min. The hub acknowledges late while it throttles; giving up earlier sends
	// the same messages again.
	AckTimeout time.Duration
	// TokenTTL is the life that a SAS token is requested for, a minute at least. Default: 1 h. The
	// connection is renewed at a random 70 to 90 % of what the token itself says is left of it when
	// the hub has accepted it, and, should that fail, tried again for as long as the token lives. A
	// longer life lets a stolen token be used for longer, a shorter one costs more reconnections.
	TokenTTL time.Duration
	// MaxInFlight is how many messages may be waiting for their acknowledgement on one connection;
	// Send waits for a place, first come, first served. Default: 32; at most 16384. Each costs
	// memory up to the size of its message.
	MaxInFlight int
	// APIVersion is the version of the hub's API that is announced. Default: "2021-04-12"; others
	// are not tested with this package.
	APIVersion string
	// UserAgent is announced as the device client type, and as User-Agent over HTTPS: the hub's
	// logs show it. Default: "rehome-go".
	UserAgent string
	// ModelID announces the IoT Plug and Play model that the device implements,
	// "dtmi:com:example:thermostat;1". Default: none.
	ModelID string
	// Logger gets the first message that was acknowledged, renewals, handlers that panic and
	// messages that there was no room for, each with the keys hub, device_id and, of a module,
	// module; never the content of a message. docs/logs.md has all of them. Default: nothing is
	// logged.
	Logger *slog.Logger

	sessions tls.ClientSessionCache // of one connection, where TLSConfig has no cache
}

// Dial connects to a hub as a device: one attempt, bounded by ctx, DialTimeout and ConnectTimeout.
// Every error is an *Error; nothing is left open then. The connection belongs to the caller. It
// does not end with ctx, but keeps its values. A hub has one connection a device: an earlier one of
// the same identity, also of another process, is ended by the hub.
func (d *Dialer) Dial(ctx context.Context, hub Hub, credential Credential) (*Conn, error) {
	if err := d.validate(hub, credential); err != nil {
		return nil, &Error{Op: "dial", Hub: hub, Class: Caller, Err: err}
	}
	c := newConn(ctx, *d, hub, credential)
	next, err := c.dial(ctx, credential)
	if err == nil {
		err = c.connect(ctx, next)
	}
	if err != nil {
		c.end(err)
		return nil, err
	}
	c.since = time.Now()
	go c.supervise()
	return c, nil
}

func (d *Dialer) validate(hub Hub, credential Credential) error {
	if err := hub.Validate(); err != nil {
		return err
	}
	if credential == nil {
		return errors.New("credential is nil")
	}
	return d.Validate()
}

// Validate reports the first wrong field, in one line, without using the network. Dial, Post and
// Receive begin with it, and wrap its error in an *Error of class Caller.
func (d *Dialer) Validate() error {
	switch {
	case d.KeepAlive < 0 || d.KeepAlive%time.Second != 0:
		return fmt.Errorf(
			"KeepAlive of %v is not a whole number of seconds, such as 240*time.Second",
			d.KeepAlive,
		)
	case min(d.DialTimeout, d.ConnectTimeout, d.AckTimeout) < 0:
		return errors.New("DialTimeout, ConnectTimeout or AckTimeout is negative: use zero for " +
			"the default")
	case d.TokenTTL < 0 || d.TokenTTL > 0 && d.TokenTTL < time.Minute:
		return fmt.Errorf("TokenTTL of %v is less than a minute", d.TokenTTL)
	case d.Transport < Auto || d.Transport > MQTTWebSocket:
		return fmt.Errorf("%v does not exist: use MQTT or MQTTWebSocket", d.Transport)
	case d.MaxInFlight < 0:
		return errors.New("MaxInFlight is negative: use zero for the default")
	case d.MaxInFlight > mqtt.MaxWindow:
		return fmt.Errorf("MaxInFlight of %d is more than %d", d.MaxInFlight, mqtt.MaxWindow)
	case d.ModelID != "" &&
		(!strings.HasPrefix(d.ModelID, "dtmi:") || oneline.ASCII(d.ModelID, 4096) != d.ModelID):
		return fmt.Errorf(
			"ModelID %q does not start with dtmi: or is not ASCII", oneline.ASCII(d.ModelID, 128),
		)
	case d.TLSConfig != nil && d.TLSConfig.InsecureSkipVerify:
		return errors.New(
			"InsecureSkipVerify is refused: put the hub's authority into TLSConfig.RootCAs",
		)
	case d.TLSConfig != nil && d.TLSConfig.RootCAs != nil &&
		d.TLSConfig.RootCAs.Equal(x509.NewCertPool()):
		return errors.New("TLSConfig.RootCAs are empty: look at what AppendCertsFromPEM returns, " +
			"or leave them nil for the public ones")
	}
	return nil
}

// clock is the time that token expiries and certificates are checked against.
func (d *Dialer) clock() time.Time {
	if d.TLSConfig != nil && d.TLSConfig.Time != nil {
		return d.TLSConfig.Time()
	}
	return time.Now()
}

// forgetSession drops the TLS session with a hub, after an attempt that failed: whom the hub took
// the device for when it began may be why, and the next attempt introduces it anew.
func (d *Dialer) forgetSession(hub Hub, certificate *tls.Certificate) {
	dial.Forget(d.TLSConfig, certificate, d.sessions, hub.Host)
}

// open makes the network connection, with the client certificate if there is one.
func (d *Dialer) open(
	ctx context.Context, hub Hub, certificate *tls.Certificate,
) (net.Conn, error) {
	dialer := &mqtt.Dialer{
		DialContext: d.DialContext, TLSConfig: d.TLSConfig, Certificate: certificate,
		Sessions: d.sessions, Proxy: d.Proxy, Timeout: d.DialTimeout,
	}
	if d.Transport == MQTTWebSocket {
		return dialer.WebSocket(ctx, "wss://"+hub.Host+"/$iothub/websocket", nil)
	}
	return dialer.TLS(ctx, net.JoinHostPort(hub.Host, "8883"))
}

func (d *Dialer) apiVersion() string { return cmp.Or(d.APIVersion, defaultAPIVersion) }

func (d *Dialer) userAgent() string { return cmp.Or(d.UserAgent, defaultUserAgent) }

// Username is the user name of an identity's CONNECT, with the fields APIVersion, UserAgent and
// ModelID, or their defaults; nothing else of d counts (Azure docs: "Communicate with an IoT hub
// using the MQTT protocol"). It is the same with a token and with a certificate.
func (d *Dialer) Username(hub Hub) string {
	name := hub.Host + "/" + hub.ClientID() + "/?api-version=" + escape(d.apiVersion()) +
		"&DeviceClientType=" + escape(d.userAgent())
	if d.ModelID != "" {
		name += "&model-id=" + escape(d.ModelID)
	}
	return name
}

// options is what CONNECT says.
func (d *Dialer) options(hub Hub, token string) mqtt.Options {
	return mqtt.Options{
		ClientID:       hub.ClientID(),
		Username:       d.Username(hub),
		Password:       token,
		KeepAlive:      min(cmp.Or(d.KeepAlive, 240*time.Second), maxKeepAlive),
		ConnackTimeout: d.ConnectTimeout,
		AckTimeout:     cmp.Or(d.AckTimeout, 4*time.Minute),
		MaxInFlight:    d.MaxInFlight,
	}
}
