// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// Device is an identity in a hub's registry.
type Device struct {
	// ID is the device ID: 1 to 128 ASCII letters, digits and - . + % _ # * ? ! ( ) , : = @ $ ' ;
	// (case matters).
	ID string
	// Disabled keeps the device out, as an unknown one. Default: it is enabled.
	Disabled bool
	// StatusReason says, for people, why the device is enabled or disabled. The hub only keeps it.
	StatusReason string
	// IoTEdge is the capability of an IoT Edge device. The hub keeps it, and does nothing else with
	// it.
	IoTEdge bool
	// PrimaryKey is base64; a token signed with it lets the device in. A new device without any key
	// or thumbprint gets two random keys.
	PrimaryKey string
	// SecondaryKey counts as PrimaryKey does.
	SecondaryKey string
	// PrimaryThumbprint is the SHA-1 or SHA-256 digest of a client certificate that lets the device
	// in: hexadecimal of either case, colons and spaces allowed. Thumbprint computes one.
	PrimaryThumbprint string
	// SecondaryThumbprint counts as PrimaryThumbprint does.
	SecondaryThumbprint string
	// CertificatePolicy is the ID of the policy ([CertificatePolicy]) under which certificates are
	// issued to the device: they let it in, whatever their thumbprint. It then needs no key and no
	// thumbprint. "": none are issued.
	CertificatePolicy string
	// CredentialID is what issued certificates hold so that the hub knows whose they are. Default:
	// with a policy, a new one. RevokeCredentials changes it.
	CredentialID string
	// GenerationID tells apart identities that had the same ID one after the other. The hub sets
	// it.
	GenerationID string
}

// Thumbprint returns the SHA-256 digest of a certificate as the registry writes it.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Put creates a device, or changes the one with its ID. A new device without any key or thumbprint
// gets two random keys, as the service's registry gives; Get tells them. A live connection stays as
// it is, unless the device is now disabled: keys are looked at when a device connects.
func (h *Hub) Put(d Device) error {
	d, err := d.normal()
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.put(d)
	h.mu.Unlock()
	if d.Disabled {
		h.disconnectAll(d.ID)
	}
	return nil
}

// put creates or changes an identity; h.mu is held.
func (h *Hub) put(d Device) {
	old, known := h.devices[d.ID]
	if known {
		d.CredentialID = cmp.Or(d.CredentialID, old.CredentialID)
	}
	if d.CertificatePolicy != "" && d.CredentialID == "" {
		d.CredentialID = uuid.New()
	}
	if d.PrimaryKey == "" && d.SecondaryKey == "" && d.PrimaryThumbprint == "" &&
		d.SecondaryThumbprint == "" && d.CertificatePolicy == "" {
		d.PrimaryKey, d.SecondaryKey = randomKey(), randomKey()
	}
	if known {
		d.GenerationID = old.GenerationID
		old.Device = d
		return
	}
	h.generation++
	d.GenerationID = fmt.Sprintf("%018d", h.generation)
	h.devices[d.ID] = &record{Device: d, twin: h.newTwin()}
}

// disconnectAll closes the connections of a device and of its modules.
func (h *Hub) disconnectAll(id string) {
	h.mu.Lock()
	all := append(h.modulesOf(id), id)
	h.mu.Unlock()
	for _, id := range all {
		h.Disconnect(id)
	}
}

// Get returns a device.
func (h *Hub) Get(id string) (Device, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if _, module := splitID(id); !ok || module != "" {
		return Device{}, false
	}
	return r.Device, true
}

// Devices returns the IDs of all devices, sorted.
func (h *Hub) Devices() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var ids []string
	for id := range h.devices {
		if _, module := splitID(id); module == "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Delete removes a device, its modules, twins and messages, and closes their connections. It
// reports whether there was one.
func (h *Hub) Delete(id string) bool {
	if _, module := splitID(id); module != "" {
		return false
	}
	h.mu.Lock()
	_, ok := h.devices[id]
	all := append(h.modulesOf(id), id)
	for _, id := range all {
		delete(h.devices, id)
	}
	h.mu.Unlock()
	for _, id := range all {
		h.Disconnect(id)
	}
	return ok
}

// Disable keeps a device and its modules out, and closes their connections. It reports whether the
// device exists.
func (h *Hub) Disable(id string) bool {
	ok := h.setDisabled(id, true)
	h.disconnectAll(id)
	return ok
}

// Enable lets a device in again. It reports whether the device exists.
func (h *Hub) Enable(id string) bool { return h.setDisabled(id, false) }

func (h *Hub) setDisabled(id string, disabled bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if _, module := splitID(id); !ok || module != "" {
		return false
	}
	r.Disabled = disabled
	return true
}

// record is all a hub knows of a device or module. A module's ID here is "device/module".
type record struct {
	Device
	twin     Twin
	queue    []*queuedC2D // oldest first
	sequence uint64
	// the subscriptions that the next connection with CleanSession 0 finds; nil: no session
	session map[string]byte
	issue   *issuing // the request for a certificate that is pending; nil for none
}

// keys returns the device's keys.
func (r *record) keys() [][]byte { return decodeKeys(r.PrimaryKey, r.SecondaryKey) }

// decodeKeys returns those of some keys in base64 that are any.
func decodeKeys(texts ...string) [][]byte {
	var keys [][]byte
	for _, k := range texts {
		if raw, err := base64.StdEncoding.DecodeString(k); err == nil && len(raw) > 0 {
			keys = append(keys, raw)
		}
	}
	return keys
}

// accepts reports whether a certificate has one of the device's thumbprints.
func (r *record) accepts(cert *x509.Certificate) bool {
	old := sha1.Sum(cert.Raw)
	digests := []string{Thumbprint(cert), strings.ToUpper(hex.EncodeToString(old[:]))}
	for _, want := range []string{r.PrimaryThumbprint, r.SecondaryThumbprint} {
		for _, have := range digests {
			if want != "" && want == have {
				return true
			}
		}
	}
	return false
}

// normal returns the device with its fields checked and thumbprints written one way.
func (d Device) normal() (Device, error) {
	if err := checkID(d.ID); err != nil {
		return d, err
	}
	for name, key := range map[string]string{
		"PrimaryKey": d.PrimaryKey, "SecondaryKey": d.SecondaryKey,
	} {
		if _, err := base64.StdEncoding.DecodeString(key); err != nil {
			return d, fmt.Errorf("hubtest: device %q: %s is not base64", d.ID, name)
		}
	}
	for name, print := range map[string]*string{
		"PrimaryThumbprint": &d.PrimaryThumbprint, "SecondaryThumbprint": &d.SecondaryThumbprint,
	} {
		*print = strings.ToUpper(strings.NewReplacer(":", "", " ", "").Replace(*print))
		raw, err := hex.DecodeString(*print)
		if n := len(raw); err != nil || n != 0 && n != sha1.Size && n != sha256.Size {
			return d, fmt.Errorf(
				"hubtest: device %q: %s is no SHA-1 or SHA-256 digest in hexadecimal", d.ID, name,
			)
		}
	}
	return d, nil
}

func checkID(id string) error {
	if id == "" || len(id) > 128 {
		return errors.New("hubtest: a device ID has 1 to 128 characters")
	}
	for _, r := range id {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune("-.+%_#*?!(),:=@$';", r) {
			return fmt.Errorf("hubtest: device ID %q: %q is not allowed", id, r)
		}
	}
	return nil
}

func randomKey() string {
	key := make([]byte, 64)
	_, _ = rand.Read(key) // never fails
	return base64.StdEncoding.EncodeToString(key)
}
