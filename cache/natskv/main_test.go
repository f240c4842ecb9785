// SPDX-License-Identifier: Apache-2.0

package natskv_test

import (
	"flag"
	"os"
	"testing"
)

// Most of these tests wait most of the time, for servers: they do so together, however few
// processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}
