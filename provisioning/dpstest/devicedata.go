// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// provision gives a device its identity at a hub, and takes it away from the hub it lived at. The
// new one comes first: a device whose new identity is refused keeps the old. It reports whether the
// hub knew the device already.
//
// What the service does with a device's data (Azure docs: "IoT Hub Device reprovisioning
// concepts"):
//
//	new at the hub                      its enrollment's initial twin and capabilities
//	registers again, stays              nothing, unless its policy resets it
//	moves, its policy migrates          twin and capabilities move along
//	moves or stays, its policy resets   the initial twin and capabilities again
func (s *Server) provision(
	to *hubtest.Hub, current place, t terms, credentials hubtest.Device,
) (known bool, err error) {
	moved := current.hub != "" && !strings.EqualFold(current.hub, to.Host())
	var from *hubtest.Hub
	if moved {
		// of a hub that is not linked, nothing can be taken
		if link := s.linked(current.hub); link != nil {
			from = link.Hub
		}
	}
	device, known := to.Get(current.device)
	before := device
	fresh := !known || moved || current.hub != "" && t.resets()
	var migrates bool
	if fresh {
		device.IoTEdge, device.StatusReason = t.edge, ""
		if from != nil && !t.resets() {
			var old hubtest.Device
			if old, migrates = from.Get(current.device); migrates {
				device.IoTEdge = old.IoTEdge
			}
		}
	}
	// The hub gets the credentials of this registration: a renewed certificate or key is why many
	// devices come back. Whom the hub's operator keeps out stays out.
	device.ID = current.device
	device.PrimaryKey, device.SecondaryKey = credentials.PrimaryKey, credentials.SecondaryKey
	device.PrimaryThumbprint, device.SecondaryThumbprint = credentials.PrimaryThumbprint,
		credentials.SecondaryThumbprint
	device.CertificatePolicy, device.CredentialID = credentials.CertificatePolicy, ""
	if device.CertificatePolicy != "" {
		// Whom the operator of the hub has revoked stays so: the hubs' own word goes first.
		device.CredentialID = cmp.Or(s.credentialID(to, current), credentials.CredentialID)
	}
	if err := to.Put(device); err != nil {
		return known, err
	}
	if fresh {
		twin := t.initialTwin()
		if migrates && !t.override {
			// As late as can be: what the device reports until its identity is gone is not lost.
			if old, ok := from.Twin(current.device); ok {
				twin = old
			}
		}
		if err := to.SetTwin(current.device, twin); err != nil {
			if known {
				_ = to.Put(before) // as it was accepted before
			} else {
				to.Delete(current.device)
			}
			return known, fmt.Errorf("initial twin: %w", err)
		}
	}
	if from != nil {
		from.Delete(current.device)
	}
	return known, nil
}

// initialTwin is the twin of a device that begins.
func (t *terms) initialTwin() hubtest.Twin {
	if t.twin == nil {
		return hubtest.Twin{}
	}
	twin := hubtest.Twin{Tags: t.twin.Tags}
	if t.twin.Properties != nil {
		twin.Desired = t.twin.Properties.Desired
	}
	return twin
}
