// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// drawing are the packages whose tests wait, in virtual time, for delays that are drawn.
var drawing = []string{
	"./hubconn/...", "./internal/rules", "./internal/mqtt", "./provisioning", "./provisioning/dps",
	"./provisioning/dpstest", "./provisioning/fleet", "./provisioning/lease/...",
}

// spreading are the tests of the spread itself, which is none where most draws are at an end.
const spreading = "^TestStaggerSpreads|^TestACustomAllocationSpreads|^TestTheProgramsStaggerGoes|" +
	"^TestRenewalsThatFellDueWhileAFleetWasOff|^TestDevicesThatWaitToBootHoldUpNoOther|" +
	"^TestADeviceWithOneAttemptWaitsForItsTurnInTheFleet|^TestACrashLoopLeavesTheHubAlone"

// float64Of is how the method begins that each delay is drawn with.
const float64Of = "func (r *Rand) Float64() float64 {\n"

// atTheEnds makes three draws in four the least or the greatest that there is.
const atTheEnds = `	switch u := r.Uint64(); u >> 61 {
	case 0, 1, 2:
		return 0
	case 3, 4, 5:
		return 1 - 1.0/(1<<53)
	}
`

// draws plays the tests with delays that are as short or as long as they may be. A test whose
// limits only nearly all draws keep to would fail once in some thousand runs; here it does at once.
// The standard library is compiled with another Float64, so that no package needs a way to it.
func (w *workshop) draws() error {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	name := filepath.Join(strings.TrimSpace(string(root)), "src/math/rand/v2/rand.go")
	source, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	changed, err := withDrawsAtTheEnds(string(source))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.WriteFile(w.path("rand.go"), []byte(changed), 0o600); err != nil {
		return err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		name: w.path("rand.go"),
	}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.path("overlay.json"), overlay, 0o600); err != nil {
		return err
	}
	return w.tests("draws.log", exec.Command("go", append([]string{
		"test", "-overlay", w.path("overlay.json"), "-count", "5", "-shuffle", "on", "-v",
		"-timeout", "60m", "-skip", spreading,
	}, drawing...)...))
}

func withDrawsAtTheEnds(source string) (string, error) {
	before, after, ok := strings.Cut(source, float64Of)
	if !ok {
		return "", fmt.Errorf("there is no %q any more: mend internal/ci/draws.go",
			strings.TrimSpace(float64Of))
	}
	return before + float64Of + atTheEnds + after, nil
}
