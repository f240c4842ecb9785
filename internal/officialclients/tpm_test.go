// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/swtpm"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// simulatorPort is where the client looks for a TPM simulator. In a network of its own it is free.
const simulatorPort = 2321

// needTPM starts a TPM in software where the client looks for it.
func needTPM(t *testing.T) (address string) {
	t.Helper()
	need(t)
	return "mssim:" + swtpm.Bridge(t, swtpm.Start(t), simulatorPort)
}

func TestOfficialTPMClientRegistersAndConnects(t *testing.T) {
	needTPM(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	var keys struct{ EndorsementKey, StorageRootKey, RegistrationID string }
	node.must(t, "tpmKeys", with{}, &keys)
	assert.Len(t, keys.RegistrationID, 52)
	id := strings.ToLower(keys.RegistrationID)
	at := with{"host": w.dps.Endpoint(), "idScope": w.dps.IDScope()}
	require.Error(t, node.try("registerTpm", at, nil), "a TPM that nobody enrolled")

	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: id, IoTHubs: []string{hostA}, AllocationPolicy: dpstest.PolicyStatic,
		Attestation: dpstest.Attestation{TPM: &dpstest.TPM{EndorsementKey: keys.EndorsementKey}},
	}))
	connect := func(name string) {
		t.Helper()
		node.must(t, "connectTpm", with{"name": name, "hub": hostA, "deviceId": id}, nil)
		node.must(t, "send", with{"name": name, "body": name}, nil)
	}
	// The second time the TPM has lost the registration's key to the hub's.
	for _, name := range []string{"first", "again"} {
		node.must(t, "registerTpm", at, nil)
		connect(name)
	}
	require.Eventually(t, func() bool { return len(w.a.Messages()) == 2 }, patience, tick)
	assert.Equal(t, id, w.a.Messages()[0].DeviceID)
}

// Two clients of one TPM, in turn: the official one, which keeps its keys at persistent handles,
// and this project's, which shares its primary keys and touches no handle.
func TestOfficialTPMClientAndOursShareATPM(t *testing.T) {
	address := needTPM(t)
	w := newWorld(t, dpstest.Config{})
	dir := t.TempDir()
	program := filepath.Join(dir, "tpmdevice")
	build := exec.Command("go", "build", "-o", program, "./tpmdevice")
	build.Dir = filepath.Join("..", "..", "provisioning", "tpm")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	roots := filepath.Join(dir, "roots.pem")
	require.NoError(t, os.WriteFile(roots, w.network.CA().PEM(), 0o600))
	ours := func(result any, args ...string) {
		t.Helper()
		c := exec.Command(program, append([]string{
			"-tpm", address, "-store", dir, "-scope", w.dps.IDScope(), "-roots", roots,
		}, args...)...)
		var stderr bytes.Buffer
		c.Stderr = &stderr
		stop := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		defer stop.Stop()
		out, err := c.Output()
		require.NoError(t, err, "%s", &stderr)
		require.NoError(t, json.Unmarshal(out, result))
	}

	type keys struct{ EndorsementKey, StorageRootKey, RegistrationID string }
	var theirs, same keys
	node := newDriver(t, w.network)
	node.must(t, "tpmKeys", with{}, &theirs)
	theirs.RegistrationID = strings.ToLower(theirs.RegistrationID)
	ours(&same, "-keys")
	assert.Equal(t, theirs, same, "the keys and the default ID are those of the official client")

	id := theirs.RegistrationID
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: id, IoTHubs: []string{hostA}, AllocationPolicy: dpstest.PolicyStatic,
		Attestation: dpstest.Attestation{TPM: &dpstest.TPM{EndorsementKey: theirs.EndorsementKey}},
	}))
	at := with{"host": w.dps.Endpoint(), "idScope": w.dps.IDScope()}
	connect := func(name string) {
		t.Helper()
		node.must(t, "connectTpm", with{"name": name, "hub": hostA, "deviceId": id}, nil)
		node.must(t, "send", with{"name": name, "body": name}, nil)
	}
	send := func(name string) {
		t.Helper()
		var assigned struct{ Hub, DeviceID string }
		ours(&assigned, "-send", name)
		assert.Equal(t, []string{hostA, id}, []string{assigned.Hub, assigned.DeviceID})
	}
	var assigned struct{ AssignedHub, DeviceID string }
	node.must(t, "registerTpm", at, &assigned)
	connect("theirs")
	send("ours")
	asked := w.dps.Count(dpstest.Register, dpstest.Lookup)
	connect("theirs again") // with the key that was in the TPM before ours registered
	send("ours again")
	assert.Equal(t, asked, w.dps.Count(dpstest.Register, dpstest.Lookup), "neither lost its key")
	node.must(t, "registerTpm", at, &assigned)
	connect("theirs anew")
	send("ours still")
	require.Eventually(t, func() bool { return len(w.a.Messages()) == 6 }, patience, tick)
	for _, m := range w.a.Messages() {
		assert.Equal(t, id, m.DeviceID)
	}
	record, ok := w.dps.Registration(id)
	require.True(t, ok)
	assert.Equal(t, hostA, record.AssignedHub)
}
