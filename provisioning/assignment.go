// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/internal/entry"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// known is an assignment and where it came from. It is never changed after it was made.
type known struct {
	dps.Assignment
	source  Source
	stagger time.Duration // as its payload has it
	badHint error         // what is wrong with that
}

func newKnown(a dps.Assignment, source Source) *known {
	k := &known{Assignment: a, source: source}
	k.stagger, k.badHint = a.Stagger() // once: it is read out of the payload
	return k
}

// named is the assignment as the rules know it.
func (k *known) named() rules.Assignment {
	if k == nil {
		return rules.Assignment{}
	}
	return rules.Assignment{
		Hub: k.Hub, DeviceID: k.DeviceID, Incompatible: !k.Classic(), Stagger: k.stagger, Record: k,
	}
}

// knownFrom is what was named.
func knownFrom(a rules.Assignment) *known {
	k, _ := a.Record.(*known)
	return k
}

// assignment is what a program sees of it.
func (k *known) assignment() *dps.Assignment {
	if k == nil {
		return nil
	}
	return &k.Assignment
}

// stored is an assignment as it comes from the store.
func stored(registrationID string, a *entry.Assignment) *known {
	if a == nil {
		return nil
	}
	return newKnown(dps.Assignment{
		Hub: a.Hub, DeviceID: a.DeviceID, RegistrationID: registrationID,
		Status: dps.StatusAssigned, Substatus: a.Substatus, Payload: a.Payload,
		Created: a.Created, Updated: a.Updated, ConnectionProfile: a.Profile,
	}, SourceStore)
}

func (k *known) toStore() *entry.Assignment {
	if k == nil {
		return nil
	}
	return &entry.Assignment{
		Hub: k.Hub, DeviceID: k.DeviceID, Substatus: k.Substatus, Payload: k.Payload,
		Created: k.Created, Updated: k.Updated, Profile: k.ConnectionProfile,
	}
}
