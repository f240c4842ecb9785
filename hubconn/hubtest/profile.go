// SPDX-License-Identifier: Apache-2.0

package hubtest

import "strings"

// Connection profiles, as DPS tells them to devices. The text is the service's.
const (
	// ProfileClassic is a hub that speaks MQTT 3.1.1.
	ProfileClassic = "classic"
	// ProfileMQTTV5 is a hub that speaks MQTT 5 alone.
	ProfileMQTTV5 = "mqttV5"
)

// SetConnectionProfile says what the hub speaks. At the service that is chosen when the hub is
// made; here it holds for the CONNECTs and registrations from now on. Default, and "":
// ProfileClassic.
//
// Under ProfileMQTTV5, in any letter case, every CONNECT of MQTT 3.1.1 is refused with return code
// 1, whoever the device is. What such a hub really answers is not published. MQTT 5 itself is not
// simulated, and HTTPS stays as it is. Any other text changes nothing at the hub: it is there to
// see what a device does about a profile that it does not know.
func (h *Hub) SetConnectionProfile(profile string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.profile = profile
}

// ConnectionProfile returns the profile, as it was set.
func (h *Hub) ConnectionProfile() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.profile == "" {
		return ProfileClassic
	}
	return h.profile
}

// speaks311 reports whether the hub speaks the protocol of this package.
func (h *Hub) speaks311() bool { return !strings.EqualFold(h.ConnectionProfile(), ProfileMQTTV5) }
