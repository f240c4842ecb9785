package hubconn

import (
	"fmt"
	"strings"
)

// Hub names a device at an IoT hub: where to connect, and as whom. Both come from an assignment by the Device
// Provisioning Service, or from whoever created the device.
type Hub struct {
	// Host is the hub's full name, without scheme or port: "contoso.azure-devices.net".
	Host string
	// DeviceID is the device's identity at that hub. It may differ from its registration ID, and is case-sensitive.
	DeviceID string
}

// String returns host/device.
func (h Hub) String() string { return h.Host + "/" + h.DeviceID }

// resource is what a SAS token for the device is signed for (Azure docs: "Control access to IoT Hub with shared access
// signatures").
func (h Hub) resource() string { return h.Host + "/devices/" + h.DeviceID }

func (h Hub) validate() error {
	if err := checkHost(h.Host); err != nil {
		return err
	}
	return checkDeviceID(h.DeviceID)
}

func checkHost(host string) error {
	if host == "" {
		return fmt.Errorf("hub host is empty")
	}
	if len(host) > 253 {
		return fmt.Errorf("hub host has %d characters, a DNS name has at most 253", len(host))
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || strings.Trim(label, hostAlphabet) != "" {
			return fmt.Errorf("hub host %q is not a DNS name (no scheme, no port)", clean(host, 64))
		}
	}
	return nil
}

const (
	alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	hostAlphabet = alphanumeric + "-"
	// IoT Hub's alphabet for identities, without '+' and '#': the device ID becomes part of MQTT topics, where they are
	// wildcards.
	deviceAlphabet = alphanumeric + "-.%_*?!(),:;=@$'"
)

func checkDeviceID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("device ID is empty")
	case len(id) > 128:
		return fmt.Errorf("device ID has %d characters, IoT Hub allows 128", len(id))
	}
	if i := strings.IndexFunc(id, func(r rune) bool { return !strings.ContainsRune(deviceAlphabet, r) }); i >= 0 {
		return fmt.Errorf("device ID %q has a character that cannot stand in an MQTT topic or is not allowed by IoT Hub at index %d", clean(id, 128), i)
	}
	return nil
}
