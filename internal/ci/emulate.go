// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os/exec"
	"time"
)

// alike are packages whose tests an emulator can run: decoders, checksums, what is stored and how,
// the rules, and the MQTT that is ours.
var alike = []string{
	"./cache", "./retry", "./internal/atomicfile", "./internal/crc32c", "./internal/entry",
	"./internal/keyring", "./internal/mqtt", "./internal/rules", "./internal/sas",
	"./internal/waits",
}

// notAlike are their tests that start their own program again, which this machine cannot.
const notAlike = "^Test(TheEnvironmentsProxyServesWebSocketOnly" +
	"|KillBeforeAnyOperationLeavesTheOldWaitsOrTheNew|CrashLoopLeavesWholeWaitsOfKnownAge)$"

// boards are those whose programs are tested under an emulator of their processors.
var boards = []board{
	{system{"linux", "arm", "GOARM=6"}, "qemu-arm"},
	{system{"linux", "arm64", ""}, "qemu-aarch64"},
}

type board struct {
	system
	emulator string
}

// emulation is what came of it.
type emulation struct {
	passed int // tests
	took   time.Duration
}

// emulate runs on an emulated board what may depend on it: where an int has 32 bits, and 64-bit
// atomics need alignment, or memory is ordered otherwise.
func (w *workshop) emulate(b board) (result emulation, err error) {
	if _, err := exec.LookPath(b.emulator); err != nil {
		return result, fmt.Errorf("install qemu-user first: %w", err)
	}
	begun := time.Now()
	test := exec.Command("go", append([]string{
		"test", "-trimpath", "-short", "-v", "-exec", b.emulator, "-skip", notAlike,
		"-timeout", "20m",
	}, alike...)...)
	test.Env = b.environment()
	text, err := w.logged("emulated-"+b.board()+".log", test)
	if err != nil {
		return result, fmt.Errorf("%s: %w\n%s", b.board(), err, last(100, failures(text)))
	}
	result.passed, result.took = len(passed.FindAllString(text, -1)), time.Since(begun)
	return result, nil
}
