// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// listening waits until the device listens for methods.
var listening = hubtest.InvokeOptions{ConnectTimeout: 10 * time.Second}

// operator decides which hub may have the device: one it has not measured yet goes to quarantine.
type operator struct {
	mu       sync.Mutex
	attested bool
	hub      string // its customer's
	firmware string // the digest of what the device should run
}

// allocate is the custom allocation of DPS: at the service, an Azure Function.
func (o *operator) allocate(
	_ context.Context, a dpstest.Allocation,
) (dpstest.Allocated, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.attested {
		return dpstest.Allocated{Hub: quarantine}, nil
	}
	return dpstest.Allocated{Hub: o.hub}, nil
}

// measure asks a device for the digest of its firmware, and clears it if that is the one built.
func (o *operator) measure(ctx context.Context, at *hubtest.Hub) error {
	_, response, err := at.Invoke(ctx, registrationID, methodMeasure, nil, listening)
	if err != nil {
		return err
	}
	var answer measurement
	if err := json.Unmarshal(response, &answer); err != nil {
		return err
	}
	if want := o.firmware; answer.Firmware != want {
		return fmt.Errorf("the device runs firmware %s, not %s: it stays", answer.Firmware, want)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attested = true
	return nil
}

// sell gives the device to another customer, whose hub has it from its next registration on.
func (o *operator) sell(hub string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hub = hub
}
