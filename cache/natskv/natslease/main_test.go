// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"flag"
	"os"
	"testing"

	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
)

// Most of these tests wait most of the time, for leases to run out: they do so together, however
// few processors there are.
func TestMain(m *testing.M) {
	natstest.Main()
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
