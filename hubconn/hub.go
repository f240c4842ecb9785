// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/sas"
)

// Hub names a device, or a module of one, at an IoT hub: where to connect, and as whom. Host and
// DeviceID come from an assignment by the Device Provisioning Service, or from whoever created the
// device.
type Hub struct {
	// Host is the hub's full name, without scheme or port: "contoso.azure-devices.net".
	Host string
	// DeviceID is the device's identity at that hub: up to 128 characters. It may differ from its
	// registration ID, and is case-sensitive.
	DeviceID string
	// ModuleID is the module's identity on the device: an identity with a connection, a twin and a
	// credential of its own. Empty is the device itself.
	ModuleID string
}

// String returns host/device or host/device/module.
func (h Hub) String() string { return h.Host + "/" + h.ClientID() }

// ClientID is the client identifier of the identity's CONNECT: the device ID, or
// "{device}/{module}" (Azure docs: "Communicate with an IoT hub using the MQTT protocol"). With
// [Dialer.Username] and a token for Resource it is what an MQTT client of the program's own needs.
func (h Hub) ClientID() string {
	if h.ModuleID != "" {
		return h.DeviceID + "/" + h.ModuleID
	}
	return h.DeviceID
}

// path is the identity in topics and URLs: "devices/{device}" or
// "devices/{device}/modules/{module}". Neither topics nor SAS tokens escape what is in it.
func (h Hub) path() string {
	if h.ModuleID != "" {
		return "devices/" + h.DeviceID + "/modules/" + h.ModuleID
	}
	return "devices/" + h.DeviceID
}

// url is the identity's path in the device API, escaped.
func (h Hub) url() string {
	if h.ModuleID != "" {
		return "/devices/" + escape(h.DeviceID) + "/modules/" + escape(h.ModuleID)
	}
	return "/devices/" + escape(h.DeviceID)
}

// Resource is what a SAS token for the identity is signed for, the token's sr before it is escaped:
// "{host}/devices/{device}" or "{host}/devices/{device}/modules/{module}" (Azure docs: "Control
// access to IoT Hub with shared access signatures").
func (h Hub) Resource() string { return h.Host + "/" + h.path() }

// Validate reports the first wrong field, in one line, without using the network. Whatever uses a
// Hub begins with it.
func (h Hub) Validate() error {
	if err := checkHost(h.Host); err != nil {
		return err
	}
	if err := checkID("device ID", h.DeviceID); err != nil {
		return err
	}
	if h.ModuleID == "" {
		return nil
	}
	return checkID("module ID", h.ModuleID)
}

func checkHost(host string) error {
	if host == "" {
		return fmt.Errorf("hub host is empty")
	}
	if len(host) > 253 {
		return fmt.Errorf("hub host has %d characters, a DNS name has at most 253", len(host))
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, hostAlphabet) != "" {
			return fmt.Errorf(
				"hub host %q is not a DNS name: leave out scheme, port and path",
				oneline.ASCII(host, 64),
			)
		}
	}
	return nil
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	hostAlphabet = alphanumeric + "-"
	// IoT Hub's alphabet for identities, without '+' and '#': the ID becomes part of MQTT topics,
	// where they are wildcards.
	deviceAlphabet = alphanumeric + "-.%_*?!(),:;=@$'"
)

func checkID(what, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s is empty", what)
	case len(id) > 128:
		return fmt.Errorf("%s has %d characters, IoT Hub allows 128", what, len(id))
	}
	if sas.LooksLikeKey(id) && strings.Trim(id, deviceAlphabet) != "" {
		return fmt.Errorf("%s looks like a key: set it to the id at the hub", what)
	}
	if i := strings.IndexFunc(id, func(r rune) bool {
		return !strings.ContainsRune(deviceAlphabet, r)
	}); i >= 0 {
		return fmt.Errorf("%s %q has a character that cannot stand in an MQTT topic or is not "+
			"allowed by IoT Hub at index %d", what, oneline.ASCII(id, 128), i)
	}
	return nil
}
