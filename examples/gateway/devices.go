// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/gateway/identities"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// identityList is the list of identities that is in force.
type identityList struct {
	mu   sync.RWMutex
	byID map[string]*identities.Identity // in lower case, as DPS compares them
}

func newIdentityList(list []identities.Identity) *identityList {
	l := &identityList{byID: make(map[string]*identities.Identity, len(list))}
	for i := range list {
		l.byID[strings.ToLower(list[i].ID)] = &list[i]
	}
	return l
}

// find returns an identity, nil if the list does not have it.
func (l *identityList) find(id string) *identities.Identity {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.byID[strings.ToLower(id)]
}

func (l *identityList) len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.byID)
}

// newDevice is the Device of the fleet.
func (g *gateway) newDevice(id string) (*provisioning.Device, error) {
	i := g.list.find(id)
	if i == nil {
		return nil, fmt.Errorf("%s is not in the list any more", id)
	}
	dev := &provisioning.Device{
		IDScope: g.o.IDScope, Attestation: i.Attestation, ModelID: i.ModelID,
		Store: g.store, Endpoint: g.o.Endpoint, Transport: g.o.Transport, Stagger: g.o.Stagger,
		DialContext: g.o.sim.DialContext, TLSConfig: g.o.sim.TLSConfig,
		Hub: hubconn.Dialer{Transport: g.o.HubTransport}, Trace: g.trace,
	}
	if i.Payload != nil {
		dev.Payload = i.Payload
	}
	return dev, nil
}

// session is the Session of the fleet: what is kept for the device is delivered.
func (g *gateway) session(ctx context.Context, id string, hub *hubconn.Conn) error {
	box, err := g.box(id)
	if err != nil {
		return err
	}
	return box.Deliver(ctx, hub)
}

// store is where assignments are remembered.
type store interface {
	cache.WaitStore
}
