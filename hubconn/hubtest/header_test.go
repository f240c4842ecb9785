// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Names of application properties have a case, though those of headers have none.
func TestNamesOfPropertiesKeepTheirCaseOnEveryWay(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		properties := map[string]string{"RoomName": "Attic", "roomName": "x", "floor": "2"}
		c := device(t, h, "dev1")

		// From the device, over HTTPS.
		headers := map[string]string{}
		for name, value := range properties {
			headers["iothub-app-"+name] = value
		}
		headers["IoTHub-App-Other"], properties["Other"] = "y", "y"
		c.https("POST /messages/events", headers, "hello")
		assert.Equal(t, properties, h.Messages()[0].Properties)

		// From the back end to the device, over HTTPS: by the bytes, since this client, too, writes
		// all names one way.
		send := func() {
			response := rawRequest(
				t, h, "POST", "/devices/dev1/messages/deviceBound",
				policyToken(t, h, "service", hubHost, time.Hour), headers, "on",
			)
			require.Equal(t, "HTTP/1.1 204 No Content\r\n", response[0])
			assert.Equal(t, properties, h.C2DQueue("dev1")[0].Properties)
		}
		send()
		got := rawRequest(
			t, h, "GET", "/devices/dev1/messages/deviceBound", c.password, nil, "",
		)
		for name, value := range properties {
			assert.Contains(t, got, "iothub-app-"+name+": "+value+"\r\n")
		}
		h.PurgeC2D("dev1")

		// And over MQTT.
		send()
		require.Zero(t, c.connect("mqtt"))
		c.subscribe(commands)
		_, bag, _ := strings.Cut(c.message().TopicName, "/devicebound/")
		received, _ := parseBag(bag)
		delete(received, "iothub-ack")
		assert.Equal(t, properties, received)
		c.close()
	})
}

// rawRequest makes one request, and returns the lines of the response's head.
func rawRequest(
	t *testing.T, h *Hub, method, path, authorization string, header map[string]string, body string,
) []string {
	t.Helper()
	raw, err := h.network.DialContext(t.Context(), "tcp", h.Host()+":443")
	require.NoError(t, err)
	cfg := h.network.TLSConfig()
	cfg.ServerName = h.Host()
	nc := tls.Client(raw, cfg)
	defer nc.Close()
	u := url.URL{Path: path, RawQuery: "api-version=2021-04-12"}
	fmt.Fprintf(nc, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nContent-Length: %d\r\n",
		method, u.RequestURI(), h.Host(), authorization, len(body))
	for name, value := range header {
		fmt.Fprintf(nc, "%s: %s\r\n", name, value)
	}
	fmt.Fprintf(nc, "\r\n%s", body)
	var lines []string
	for r := bufio.NewReader(nc); ; {
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		if line == "\r\n" {
			return lines
		}
		lines = append(lines, line)
	}
}
