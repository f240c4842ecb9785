// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/pagepart"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// eavesdropper is a server with the certificate in question, and notes what it is told.
type eavesdropper struct {
	certificate tls.Certificate
	version     uint16

	// Read only when nothing of it runs.
	heard      []byte
	identified bool // the client has proved who it is, by a certificate
}

// listen serves a connection for the first second: it says nothing.
func (e *eavesdropper) listen(raw net.Conn) {
	defer raw.Close()
	nc := tls.Server(raw, &tls.Config{
		Certificates: []tls.Certificate{e.certificate}, ClientAuth: tls.RequestClientCert,
		MinVersion: e.version, MaxVersion: e.version,
		VerifyConnection: func(s tls.ConnectionState) error {
			e.identified = e.identified || len(s.PeerCertificates) > 0
			return nil
		},
	})
	if nc.Handshake() != nil {
		return
	}
	_ = nc.SetReadDeadline(time.Now().Add(time.Second))
	heard, _ := io.ReadAll(nc)
	e.heard = append(e.heard, heard...)
}

// use is what a client does with a server that shows a certificate.
type use struct {
	name string
	host string
	run  func(*trustWorld) error
	// anonymous is true of what never shows who the device is.
	anonymous bool
	// evenIfDated is true of what asks a server whose certificate's dates alone are wrong.
	evenIfDated bool
}

// trustWorld is the clients, and the eavesdropper in place of a host.
type trustWorld struct {
	*testing.T
	network *simnet.Network
	hub     *hubtest.Hub
	client  *dps.Client
	dialer  *hubconn.Dialer
	who     dps.X509
}

func (w *trustWorld) register(by dps.Transport) error {
	w.client.Transport = by
	_, err := w.client.Register(w.Context(), dps.Registration{})
	return err
}

func (w *trustWorld) dial(by hubconn.Transport) (*hubconn.Conn, error) {
	w.dialer.Transport = by
	return w.dialer.Dial(w.Context(), w.at(), w.who)
}

func (w *trustWorld) at() hubconn.Hub { return hubconn.Hub{Host: hubHost, DeviceID: deviceID} }

func onlyError(_ *hubconn.Conn, err error) error { return err }

// uses are in the order of the page's two tables.
var uses = [][]use{{
	{name: "HTTPS", host: dpsHost, run: func(w *trustWorld) error { return w.register(dps.HTTPS) }},
	{name: "MQTT", host: dpsHost, run: func(w *trustWorld) error { return w.register(dps.MQTT) }},
	{name: "WebSocket", host: dpsHost, run: func(w *trustWorld) error {
		return w.register(dps.MQTTWebSocket)
	}},
	{name: "lookup", host: dpsHost, run: func(w *trustWorld) error {
		_, err := w.client.Lookup(w.Context())
		return err
	}},
	{name: "time", host: dpsHost, anonymous: true, evenIfDated: true,
		run: func(w *trustWorld) error {
			_, err := w.client.Time(w.Context())
			return err
		}},
}, {
	{name: "MQTT", host: hubHost, run: func(w *trustWorld) error {
		return onlyError(w.dial(hubconn.MQTT))
	}},
	{name: "WebSocket", host: hubHost, run: func(w *trustWorld) error {
		return onlyError(w.dial(hubconn.MQTTWebSocket))
	}},
	{name: "send", host: hubHost, run: func(w *trustWorld) error {
		return w.dialer.Post(w.Context(), w.at(), w.who, hubconn.Message{Body: []byte("21.5")})
	}},
	{name: "receive", host: hubHost, run: func(w *trustWorld) error {
		_, err := w.dialer.Receive(w.Context(), w.at(), w.who)
		return err
	}},
	{name: "upload", anonymous: true, run: func(w *trustWorld) error {
		conn, err := w.dial(hubconn.MQTT)
		require.NoError(w, err)
		defer conn.Close()
		err = conn.Upload(w.Context(), "log.txt", strings.NewReader("secret"),
			hubconn.UploadOptions{MaxRetries: -1})
		assert.NoError(w, conn.Context().Err(), "the connection to the hub is another")
		return err
	}},
}}

// show has a client meet a certificate, and returns what became of it.
func (u use) show(t *testing.T, kind certificateKind, version uint16) (heard string) {
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer network.Close()
		w := &trustWorld{T: t, network: network, hub: hubtest.NewHub(network, hubHost)}
		w.who = dps.X509{KeyPair: network.CA().Device(deviceID)}
		require.NoError(t, w.hub.Put(hubtest.Device{
			ID: deviceID, PrimaryThumbprint: hubtest.Thumbprint(w.who.KeyPair.Leaf),
		}))
		host := u.host
		if host == "" {
			host = w.hub.BlobHost()
		}
		d := newDraft(host)
		kind.spoil(d)
		e := &eavesdropper{version: version}
		certificate, pool := d.sign(t)
		e.certificate = certificate
		pool.AddCert(network.CA().Certificate())
		dial := func(ctx context.Context, network, address string) (net.Conn, error) {
			if !strings.HasPrefix(address, host+":") {
				return w.network.DialContext(ctx, network, address)
			}
			client, server := memnet.Pipe("device:1", address)
			go e.listen(server)
			return client, nil
		}
		trusting := &tls.Config{RootCAs: pool}
		w.client = &dps.Client{
			IDScope: "0ne00000001", Attestation: w.who, DialContext: dial, TLSConfig: trusting,
			Proxy: noProxy,
		}
		w.dialer = &hubconn.Dialer{DialContext: dial, TLSConfig: trusting, Proxy: noProxy}

		err := u.run(w)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		about := fmt.Sprintf("%s, %s, TLS %x: %v", kind.name, u.name, version, err)
		require.Error(t, err, about) // it says nothing
		require.Equal(t, retry.Wait, retry.Classify(err), about)
		switch {
		case kind.fine:
			assert.NotEqual(t, retry.Untrusted, classOf(err), about)
			assert.NotEmpty(t, e.heard, about)
			assert.Equal(t, !u.anonymous, e.identified, about)
			heard = "told"
		case kind.dates && u.evenIfDated:
			assert.True(t, strings.HasPrefix(string(e.heard), "HEAD / HTTP/1.1\r\n"), about)
			assert.NotContains(t, string(e.heard), "Authorization", about)
			assert.False(t, e.identified, about)
			heard = "asked"
		default:
			assert.Equal(t, retry.Untrusted, classOf(err), about)
			assert.ErrorContains(t, err, kind.says, about)
			assert.Empty(t, e.heard, about)
			assert.False(t, e.identified, about)
			heard = fmt.Sprint(len(e.heard))
		}
	})
	return heard
}

func TestABadCertificateIsToldNothing(t *testing.T) {
	said := make([]map[string][]string, len(uses)) // rows of the tables
	for i, list := range uses {
		said[i] = map[string][]string{}
		for _, kind := range certificateKinds {
			row := make([]string, len(list))
			said[i][kind.name] = row
		}
	}
	t.Run("kinds", func(t *testing.T) {
		for _, kind := range certificateKinds {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				for i, list := range uses {
					for j, u := range list {
						old := u.show(t, kind, tls.VersionTLS12)
						now := u.show(t, kind, tls.VersionTLS13)
						if said[i][kind.name][j] = old; old != now || old == "0" {
							said[i][kind.name][j] = old + " / " + now
						}
					}
				}
			})
		}
	})
	if someAlone() {
		return
	}
	refused := 0
	for _, kind := range certificateKinds {
		if !kind.fine {
			refused++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d kinds of certificates are refused, and %d accepted.\n\n", refused,
		len(certificateKinds)-refused)
	for i, title := range []string{"DPS", "a hub, and of its storage"} {
		fmt.Fprintf(&b, "### Certificates of %s\n\n```text\n", title)
		row := []string{""}
		for _, u := range uses[i] {
			row = append(row, u.name)
		}
		tableRow(&b, trustWidths, row...)
		for _, kind := range certificateKinds {
			tableRow(&b, trustWidths, append([]string{kind.name}, said[i][kind.name]...)...)
		}
		b.WriteString("```\n\n")
	}
	if !t.Failed() && assert.GreaterOrEqual(t, refused, 18) {
		pagepart.Compare(t, pagePath, "certificates", b.String())
	}
}

var trustWidths = []int{33, 10, 10, 10, 10, 10}
