// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sized are the packages that go into devices, and how many files each may have besides its tests:
// 0 is no limit. What a device trusts has to be read by those who decide to trust it, and is read
// in pieces of a size that can be held in mind. Those of provisioning became four more when the
// device began to choose its transports, and to keep modules connected, which both have nothing to
// do with the rest of the loop, and eight more when it came to hold several credentials: their
// choice, one that changes, and the certificates that are issued, stored and renewed; those of
// hubconn became three more when a connection began to change its credential and to ask for a
// certificate: one for the former, two for the latter, its request and its answers. Provisioning
// got three more with an MQTT client of the program's own, a backlog that is sent, and what is left
// to do for a call that has failed as often as it may. Then the log became one for fleets: in
// provisioning the keys of its lines, the warnings of an outage and what only a person mends, and
// how an error logs itself in the other two. A request that waits for its turn, where devices share
// a budget, became a file.
var sized = map[string]int{
	"provisioning": 41, "provisioning/dps": 23, "hubconn": 36, "cache": 0, "retry": 0,
	"internal/rules": 0, "internal/entry": 0, "internal/waits": 0, "internal/dial": 0,
	"internal/https": 0, "internal/mqtt": 0, "internal/sas": 0, "internal/atomicfile": 0,
	"internal/crc32c": 0, "internal/issued": 0, "internal/keyring": 0, "internal/uuid": 0,
	"provisioning/fleet": 0,
}

// longest is how many lines such a file may have, besides that of its licence and the empty one
// after it.
const longest = 350

func TestDevicePackagesAreOfFewAndShortFiles(t *testing.T) {
	packages := 0
	for _, p := range goList(t, "./...") {
		name, _ := p.local()
		most, ok := sized[name]
		if !ok {
			continue
		}
		packages++
		// Files for other systems are read as well.
		files := append(p.GoFiles, p.IgnoredGoFiles...)
		if most > 0 {
			assert.LessOrEqual(t, len(files), most, "files of %s", name)
		}
		for _, file := range files {
			source, err := os.ReadFile(filepath.Join(p.Dir, file))
			require.NoError(t, err)
			source = bytes.TrimPrefix(source, []byte("// "+licenceLine+"\n\n"))
			lines := bytes.Count(source, []byte("\n"))
			assert.LessOrEqual(t, lines, longest, "lines of %s/%s", name, file)
		}
	}
	require.GreaterOrEqual(t, packages, 4, "this test looks at the wrong packages")
}
