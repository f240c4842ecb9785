// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const (
	paho      = "github.com/eclipse/paho.mqtt.golang"
	packets   = paho + "/packets"
	websocket = "github.com/gorilla/websocket"
	backoff   = "github.com/cenkalti/backoff/v4"
	testify   = "github.com/stretchr/testify"
)

// arrows says what each package of the module imports from outside the standard library: these and
// no others, each one really drawn. A lower package never names a higher one.
var arrows = map[string][]string{
	".":               {}, // a page of documentation, which links to the others
	"retry":           {backoff},
	"cache":           {"internal/atomicfile", "internal/boottime", "internal/crc32c"},
	"cache/cachetest": {"cache"},
	"hubconn": {
		"internal/dial", "internal/https", "internal/mqtt", "internal/oneline", "internal/sas",
		"internal/uuid", "retry",
	},
	"provisioning": {
		"cache", "hubconn", "internal/entry", "internal/jitter", "internal/keyring",
		"internal/oneline", "internal/rules", "internal/uuid", "internal/waits",
		"provisioning/dps", "retry",
	},
	"provisioning/dps": {
		"hubconn", "internal/dial", "internal/https", "internal/issued", "internal/mqtt",
		"internal/oneline", "internal/sas", "retry",
	},
	"provisioning/fleet": {
		"hubconn", "internal/oneline", "provisioning", "provisioning/dps", "provisioning/lease",
		"retry",
	},
	"internal/rules":      {"retry"},
	"internal/entry":      {"internal/crc32c"},
	"internal/waits":      {"cache", "internal/oneline", "internal/rules"},
	"internal/atomicfile": {},
	"internal/boottime":   {},
	"internal/crc32c":     {},
	"internal/onefile":    {"internal/atomicfile", "internal/boltpages"}, // modules' databases
	"internal/boltpages":  {},
	"internal/jitter":     {},
	"internal/keyring":    {},
	"internal/uuid":       {},
	"internal/sas":        {},
	"internal/issued":     {},
	"internal/dial":       {"internal/oneline"},
	"internal/https":      {"internal/dial", "internal/oneline"},
	"internal/mqtt":       {"internal/dial", "internal/oneline", paho, packets, websocket},
	"internal/oneline":    {},
	"hubconn/simdial":     {}, // of devices: with no simulator in it

	// The simulators, and what they stand on.
	"hubconn/simnet": {"internal/boundedlog", "internal/memnet"},
	"hubconn/hubtest": {
		"hubconn/simnet", "internal/amqp", "internal/boundedlog", "internal/mqttserver",
		"internal/query", "internal/sas", "internal/uuid",
	},
	"provisioning/dpstest": {
		"hubconn/hubtest", "hubconn/simnet", "internal/amqp", "internal/boundedlog",
		"internal/mqttserver", "internal/query", "internal/sas", "internal/tpmkey",
		"internal/uuid",
	},
	"provisioning/devicetest": {
		"cache", "hubconn/hubtest", "hubconn/simnet", "provisioning", "provisioning/dps",
		"provisioning/dpstest",
	},
	"provisioning/lease":           {}, // who runs which identity
	"provisioning/lease/leasetest": {"provisioning/lease"},
	"internal/tpmkey":              {},
	"internal/swtpm":               {},
	"internal/smalldisk":           {},
	"internal/freeport":            {},
	"internal/programtest":         {},
	"internal/memnet":              {},
	"internal/csr":                 {},
	"internal/boundedlog":          {},
	"internal/query":               {},
	"internal/amqp":                {},
	"internal/mqttserver":          {"internal/amqp", "internal/oneline", packets, websocket},

	// What the modules that export metrics have in common, which no device has without one.
	"internal/measure": {"hubconn", "provisioning", "provisioning/dps", "retry"},
	"internal/measure/measuretest": {
		"cache", "hubconn", "hubconn/hubtest", "provisioning", "provisioning/devicetest",
		"provisioning/dps", "provisioning/dpstest",
	},

	// The project's own checks.
	"internal/layout":          {},
	"internal/pagepart":        {},
	"internal/reliability":     {},
	"internal/canary":          {},
	"internal/ci":              {},
	"internal/officialclients": {},
	"internal/consolepage":     {},
}

// What an example may import: what a user can.
var public = []string{
	"cache", "hubconn", "hubconn/hubtest", "hubconn/simdial", "hubconn/simnet",
	"provisioning", "provisioning/devicetest", "provisioning/dps", "provisioning/dpstest",
	"provisioning/fleet", "provisioning/lease", "provisioning/lease/leasetest", "retry",
}

// sharedByExamples is where the examples keep what several of their programs have in common.
const sharedByExamples = "examples/internal/"

// What tests may import besides the package they test and its neighbours: a second opinion on the
// protocols, and assertions.
var forTests = []string{paho, packets, websocket}

func TestImportsAreTheArrowsOfTheGroundPlanAndNoOthers(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range goList(t, "./...") {
		name, ok := p.local()
		if !assert.True(t, ok, "package %s is not in the module", p.ImportPath) {
			continue
		}
		seen[name] = true
		drawn := []string{}
		for _, path := range p.Imports {
			if short, foreign := outside(path); foreign {
				drawn = append(drawn, short)
			}
		}
		if strings.HasPrefix(name, "examples/") {
			for _, path := range drawn {
				if strings.HasPrefix(path, name+"/") || strings.HasPrefix(path, sharedByExamples) {
					continue // a part of the same program
				}
				assert.Contains(
					t, public, path, "%s imports what a user's program would not or could not",
					name,
				)
			}
			continue
		}
		want, ok := arrows[name]
		if assert.True(
			t, ok, "package %s has no place in the ground plan: add it to arrows", name,
		) {
			assert.ElementsMatch(t, want, drawn, "imports of %s", name)
		}
	}
	for name := range arrows {
		assert.True(t, seen[name], "package %s of the ground plan does not exist", name)
	}
}

func TestTestsAddNoDependencyButTheOnesMeantForThem(t *testing.T) {
	for _, p := range goList(t, "./...") {
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if short, foreign := outside(path); foreign && short == path {
				ok := slices.Contains(forTests, path) || strings.HasPrefix(path, testify+"/")
				assert.True(t, ok, "tests of %s import %s", p.ImportPath, path)
			}
		}
	}
}

// outside shortens the import path of a package of the module, and says whether it is outside the
// standard library at all.
func outside(path string) (short string, ok bool) {
	if short, ok := strings.CutPrefix(path, module+"/"); ok {
		return short, true
	}
	first, _, _ := strings.Cut(path, "/")
	return path, strings.Contains(first, ".")
}
