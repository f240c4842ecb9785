// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
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
	packages        int // whose tests passed
	passed, skipped int // tests
	took            time.Duration
}

func (e emulation) String() string {
	return fmt.Sprintf("%d tests of %d packages passed, %d were skipped", e.passed, e.packages,
		e.skipped)
}

var (
	packagePassed = regexp.MustCompile(`(?m)^ok  \t`)
	testSkipped   = regexp.MustCompile(`(?m)^ *--- SKIP: `)
)

// emulated reads what go test -v prints. A package without a single test has not been tested.
func emulated(text string) (result emulation, err error) {
	result = emulation{
		packages: len(packagePassed.FindAllString(text, -1)),
		passed:   len(passed.FindAllString(text, -1)),
		skipped:  len(testSkipped.FindAllString(text, -1)),
	}
	if result.packages != len(alike) {
		err = fmt.Errorf("%d packages were tested, not %d", result.packages, len(alike))
	} else if strings.Contains(text, "[no tests to run]") {
		err = errors.New("a package has no tests to run")
	}
	return result, err
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
	if result, err = emulated(text); err != nil {
		return result, fmt.Errorf("%s: %w", b.board(), err)
	}
	result.took = time.Since(begun)
	return result, nil
}
