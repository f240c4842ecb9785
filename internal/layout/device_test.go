package layout

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// What must not be linked into a binary that runs on a device: simulators, test libraries, and the
// packages that only those need.
var notOnDevices = []string{
	module + "/hubconn/hubtest",
	module + "/hubconn/simnet",
	module + "/provisioning/dpstest",
	module + "/cache/cachetest",
	module + "/internal/mqttserver",
	module + "/internal/memnet",
	module + "/internal/weakcert",
	testify,
	"testing",
	"net/http/httptest",
}

func TestDeviceBinaryIsLinkedFromDeviceCodeAlone(t *testing.T) {
	linked := goList(
		t, "-deps", "./examples/thermostat", "./provisioning", "./hubconn", "./cache", "./retry",
	)
	paths := map[string]bool{}
	for _, p := range linked {
		paths[p.ImportPath] = true
		for _, banned := range notOnDevices {
			within := p.ImportPath == banned || strings.HasPrefix(p.ImportPath, banned+"/")
			assert.False(t, within, "%s is linked into device binaries", p.ImportPath)
		}
		if !p.Standard {
			assert.Empty(
				t, p.CgoFiles, "%s has C code: it could not be cross-compiled", p.ImportPath,
			)
			assert.NotContains(t, p.Imports, "C", p.ImportPath)
		}
	}
	for _, needed := range []string{paho, backoff, module + "/provisioning"} {
		assert.True(
			t, paths[needed], "%s is not linked: this test looks at the wrong packages", needed,
		)
	}
}

// third lists what a device binary takes from elsewhere. Each line is code that every user has to
// trust.
var third = []string{
	backoff, paho, packets, websocket,
	"golang.org/x/net/internal/socks", "golang.org/x/net/proxy", "golang.org/x/sync/semaphore",
}

func TestDeviceBinaryTakesFewPackagesFromElsewhere(t *testing.T) {
	for _, p := range goList(t, "-deps", "./provisioning") {
		if _, own := p.local(); own || p.Standard || strings.HasPrefix(p.ImportPath, "vendor/") {
			continue
		}
		assert.True(
			t, slices.Contains(third, p.ImportPath), "%s is linked into device binaries",
			p.ImportPath,
		)
	}
}
