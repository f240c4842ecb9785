package hubtest

import (
	"errors"
	"net"
	"net/http"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

var errDisconnected = errors.New("disconnected by the hub")

// link is one connection of a device, and the handler of its MQTT session.
type link struct {
	hub     *Hub
	session *mqttserver.Session
}

// ServeMQTT serves a device on port 8883.
func (h *Hub) ServeMQTT(nc net.Conn) { _ = nc.Close() }

// ServeHTTP serves WebSocket upgrades.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
