// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"context"
	"crypto/tls"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Plain clients know MQTT or HTTPS and nothing of the service: mosquitto's programs, curl, and
// paho-mqtt for Python. They do what the service's documentation says they can, by the names,
// topics and headers written there.

// needProgram returns the path of a program, or skips the test where it is not installed, and names
// its package in Debian.
func needProgram(t *testing.T, program, debian string) (path string) {
	t.Helper()
	need(t)
	for _, name := range []string{program, "/usr/sbin/" + program} { // not in everybody's PATH
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	lack(t, program, debian)
	return ""
}

func lack(t *testing.T, what, debian string) {
	t.Helper()
	if os.Getenv("REHOME_OFFICIAL_CLIENTS") == "required" {
		t.Fatalf("%s is required here (Debian: %s)", what, debian)
	}
	t.Skipf("SKIPPED: %s is not installed (Debian: %s)", what, debian)
}

// Debian's packages are for Debian's interpreter; the first one in PATH may be another.
var interpreters = []string{"/usr/bin/python3", "python3"}

// pythonWithPaho is an interpreter that has paho-mqtt, "" if there is none.
var pythonWithPaho = sync.OnceValue(func() string {
	for _, python := range interpreters {
		if exec.Command(python, "-c", "import paho.mqtt.client").Run() == nil {
			return python
		}
	}
	return ""
})

// needPython returns the path of an interpreter, or skips the test.
func needPython(t *testing.T) (path string) {
	t.Helper()
	if path, err := exec.LookPath(interpreters[0]); err == nil {
		return path
	}
	return needProgram(t, interpreters[1], "python3")
}

// token has Python write a SAS token that is good for an hour, as the documentation says that it is
// written.
func (w *world) token(t *testing.T, key, resource string, policy ...string) string {
	t.Helper()
	python := needPython(t)
	expiry := strconv.FormatInt(w.network.Now().Add(time.Hour).Unix(), 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := append([]string{"sas.py", resource, expiry}, policy...)
	c := exec.CommandContext(ctx, python, args...)
	c.Dir, c.Stdin = "testdata", strings.NewReader(key)
	out, err := c.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// hubToken is one for a device of a hub.
func (w *world) hubToken(t *testing.T, host, id, key string) string {
	t.Helper()
	return w.token(t, key, host+"/devices/"+id)
}

// userName is a device's at its hub, as the documentation writes it.
func userName(host, id string) string { return host + "/" + id + "/?api-version=2021-04-12" }

// pemFiles writes a certificate with its chain, and its key, into files.
func pemFiles(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	pair := pemPair(t, c)
	return file(t, "cert.pem", []byte(pair["cert"].(string))),
		file(t, "key.pem", []byte(pair["certKey"].(string)))
}
