// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What must not be linked into a binary that runs on a device: simulators, test libraries, and the
// packages that only those need.
var notOnDevices = []string{
	module + "/hubconn/hubtest",
	module + "/hubconn/simnet",
	module + "/provisioning/devicetest",
	module + "/provisioning/dpstest",
	module + "/cache/cachetest",
	module + "/internal/mqttserver",
	module + "/internal/memnet",
	module + "/internal/csr",
	testify,
	"testing",
	"net/http/httptest",
}

func TestDeviceBinaryIsLinkedFromDeviceCodeAlone(t *testing.T) {
	linked := goList(
		t, "-deps", "./examples/thermostat", "./examples/rehome", "./provisioning", "./hubconn",
		"./hubconn/simdial",
		"./cache", "./retry",
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

// clients are what package net/http itself connects and serves with, and with HTTP/2 if it can.
var clients = []string{
	"Client", "DefaultClient", "DefaultTransport", "Get", "Head", "ListenAndServe",
	"ListenAndServeTLS", "Post", "PostForm", "Serve", "ServeTLS", "Server", "Transport",
}

// The smallest build of a device program leaves HTTP/2 out by a tag.
func TestDevicesMakeNoUseOfHTTP2(t *testing.T) {
	read := 0
	for _, p := range goList(t, "-deps", "./examples/thermostat") {
		if _, own := p.local(); !own || !slices.Contains(p.Imports, "net/http") {
			continue
		}
		for _, file := range p.GoFiles {
			syntax, err := parser.ParseFile(
				token.NewFileSet(), filepath.Join(p.Dir, file), nil, parser.SkipObjectResolution,
			)
			require.NoError(t, err)
			read++
			ast.Inspect(syntax, func(n ast.Node) bool {
				use, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if from, ok := use.X.(*ast.Ident); ok && from.Name == "http" {
					assert.NotContains(t, clients, use.Sel.Name, "%s/%s", p.ImportPath, file)
				}
				return true
			})
		}
	}
	assert.Greater(t, read, 10, "this test looks at the wrong packages")
}
