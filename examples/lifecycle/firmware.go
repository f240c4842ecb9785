// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"sync"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// The methods that the firmware answers.
const (
	methodMeasure     = "measure"
	methodReprovision = "reprovision"
)

// image stands for the program in the board's flash.
var image = []byte("firmware 1.0 of board-7")

func digest(image []byte) string {
	sum := sha256.Sum256(image)
	return hex.EncodeToString(sum[:])
}

// measurement is the answer to methodMeasure. A real board has a root of trust sign it.
type measurement struct {
	Firmware string `json:"firmware"`
}

// device is the device at power on: its key is the one it was made with. What a hub is shown is the
// certificate that DPS issues, whose key never leaves the board.
func (w *world) device() *provisioning.Device {
	return w.Connect(&provisioning.Device{
		IDScope:     w.DPS.IDScope(),
		Attestation: dps.SymmetricKey{ID: registrationID, Key: onboardingKey},
		Issuance:    &provisioning.Issuance{ReportValidity: true},
		Store:       w.Store,
	})
}

// session answers the operator's methods until the connection ends.
func session(ctx context.Context, dev *provisioning.Device, hub *hubconn.Conn) {
	_, _ = hub.Report(ctx, map[string]any{"firmware": digest(image)})
	var asked sync.WaitGroup
	defer asked.Wait()
	err := hub.HandleMethods(ctx, hubconn.Methods{Handlers: map[string]hubconn.MethodHandler{
		methodMeasure: func(context.Context, hubconn.MethodRequest) (int, any, error) {
			return 200, measurement{digest(image)}, nil
		},
		// Answered first: what it asks for ends the connection that the answer goes by.
		methodReprovision: func(context.Context, hubconn.MethodRequest) (int, any, error) {
			asked.Go(func() { _, _ = dev.Reprovision(ctx, "direct method") })
			return 202, nil, nil
		},
	}})
	if err != nil && !errors.Is(err, context.Cause(ctx)) {
		<-ctx.Done()
	}
}
