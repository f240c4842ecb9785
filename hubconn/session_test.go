package hubconn_test

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// clerk is a server of TLS 1.2 that hands out session tickets, and notes for each connection whom
// it takes the client for, "" without a certificate, and whether it resumed a session for that.
type clerk struct {
	config *tls.Config

	mu      sync.Mutex
	seen    []string
	resumed int
}

func (c *clerk) serve(nc net.Conn) {
	tc := tls.Server(nc, c.config)
	if tc.Handshake() != nil {
		return
	}
	name := ""
	state := tc.ConnectionState()
	if len(state.PeerCertificates) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, name)
	if state.DidResume {
		c.resumed++
	}
}

func (c *clerk) told() (seen []string, resumed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen, c.resumed
}

// sessionUses are the ways to reach a hub, each with a connection of its own.
var sessionUses = map[string]func(*testing.T, *hubconn.Dialer, hubconn.Hub, hubconn.Credential){
	"mqtt": func(t *testing.T, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential) {
		_, err := d.Dial(t.Context(), hub, c)
		assert.Error(t, err, "the clerk speaks no MQTT")
	},
	"ws": func(t *testing.T, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential) {
		webSocket := *d
		webSocket.Transport = hubconn.MQTTWebSocket
		_, err := webSocket.Dial(t.Context(), hub, c)
		assert.Error(t, err)
	},
	"https": func(t *testing.T, d *hubconn.Dialer, hub hubconn.Hub, c hubconn.Credential) {
		assert.Error(t, d.Post(t.Context(), hub, c, hubconn.Message{}))
	},
}

func TestASessionCacheCarriesNoIdentityIntoAnother(t *testing.T) {
	ca := simnet.NewCA("Simulated Root", time.Now())
	for name, use := range sessionUses {
		t.Run(name, func(t *testing.T) {
			server := &clerk{config: &tls.Config{
				Certificates: []tls.Certificate{ca.Server(host)}, MaxVersion: tls.VersionTLS12,
				ClientAuth: tls.RequestClientCert,
			}}
			dialer := &hubconn.Dialer{
				DialContext: inMemory(server.serve), Proxy: noProxy,
				TLSConfig: &tls.Config{
					RootCAs: ca.Pool(), ClientSessionCache: tls.NewLRUClientSessionCache(8),
				},
			}
			dial := func(device string, c hubconn.Credential) {
				use(t, dialer, hubconn.Hub{Host: host, DeviceID: device}, c)
			}
			for _, device := range []string{"dev1", "dev2", "dev1"} {
				dial(device, clientCert{ca.Device(device)})
			}
			seen, resumed := server.told()
			assert.Equal(t, []string{"dev1", "dev2", "dev1"}, seen)
			assert.Zero(t, resumed)

			dial("dev3", sasKey("0123456789abcdef"))
			dial("dev4", sasKey("0123456789abcdef"))
			seen, resumed = server.told()
			assert.Equal(t, []string{"", ""}, seen[3:], "a token needs no certificate")
			assert.Equal(t, 1, resumed, "without a certificate the cache serves")
		})
	}
}
