package officialclients

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// needTPM skips the test where there is no TPM in software. In a network of its own the ports are
// free that the client knows.
func needTPM(t *testing.T) string {
	t.Helper()
	need(t)
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("REHOME_OFFICIAL_CLIENTS") == "required" {
			t.Fatalf("a TPM in software is required here: %v (Debian: swtpm)", err)
		}
		t.Skipf("SKIPPED: %v (Debian: swtpm)", err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "tpm")
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(
		ctx, "swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--flags", "not-need-init",
		"--server", "type=unixio,path="+socket, "--ctrl", "type=unixio,path="+socket+".ctrl",
	)
	require.NoError(t, c.Start())
	t.Cleanup(func() {
		cancel()
		_ = c.Wait()
	})
	require.Eventually(t, func() bool {
		_, err := os.Stat(socket)
		return err == nil
	}, patience, tick)
	return socket
}

// bridge speaks the protocol of Microsoft's TPM simulator, which is what the client knows, and
// hands the commands in it to a TPM that takes them as they are. (TPM 2.0 reference implementation,
// TcpServer.c; ms-tpm-20-ref's "TpmTcpProtocol.h".)
func bridge(t *testing.T, socket string) {
	t.Helper()
	tpm, err := net.Dial("unix", socket)
	require.NoError(t, err)
	commands, err := net.Listen("tcp", "127.0.0.1:2321")
	require.NoError(t, err)
	platform, err := net.Listen("tcp", "127.0.0.1:2322")
	require.NoError(t, err)
	done := make(chan error, 2)
	serve := func(l net.Listener, each func(net.Conn) error) {
		for {
			nc, err := l.Accept()
			if err != nil {
				done <- nil // closed
				return
			}
			err = each(nc)
			_ = nc.Close()
			if err != nil && !errors.Is(err, io.EOF) {
				t.Errorf("bridge: %v", err)
			}
		}
	}
	go serve(commands, func(nc net.Conn) error { return bridgeCommands(nc, tpm) })
	go serve(platform, func(nc net.Conn) error {
		for { // power and storage are on already
			if _, err := readUint32(nc); err != nil {
				return err
			}
			if _, err := nc.Write(make([]byte, 4)); err != nil {
				return err
			}
		}
	})
	t.Cleanup(func() {
		_, _ = commands.Close(), platform.Close()
		<-done
		<-done
		_ = tpm.Close()
	})
}

// The codes of the protocol.
const (
	sendCommand = 8
	handShake   = 15
	sessionEnd  = 20
)

func bridgeCommands(client io.ReadWriter, tpm io.ReadWriter) error {
	for {
		code, err := readUint32(client)
		if err != nil {
			return err
		}
		switch code {
		case handShake:
			version, err := readUint32(client)
			if err != nil {
				return err
			}
			answer := binary.BigEndian.AppendUint32(nil, version)
			if _, err := client.Write(append(answer, make([]byte, 8)...)); err != nil {
				return err
			}
		case sendCommand:
			if _, err := io.CopyN(io.Discard, client, 1); err != nil { // locality
				return err
			}
			size, err := readUint32(client)
			if err != nil {
				return err
			}
			if _, err := io.CopyN(tpm, client, int64(size)); err != nil {
				return err
			}
			response := make([]byte, 10) // tag, size, code
			if _, err := io.ReadFull(tpm, response); err != nil {
				return err
			}
			rest := int(binary.BigEndian.Uint32(response[2:])) - len(response)
			response = append(response, make([]byte, rest)...)
			if _, err := io.ReadFull(tpm, response[10:]); err != nil {
				return err
			}
			framed := binary.BigEndian.AppendUint32(nil, uint32(len(response)))
			framed = append(append(framed, response...), 0, 0, 0, 0)
			if _, err := client.Write(framed); err != nil {
				return err
			}
		case sessionEnd:
			return nil
		default:
			return errors.New("a command that the client is not known to send")
		}
	}
}

func readUint32(r io.Reader) (uint32, error) {
	var raw [4]byte
	_, err := io.ReadFull(r, raw[:])
	return binary.BigEndian.Uint32(raw[:]), err
}

func TestOfficialTPMClientRegistersAndConnects(t *testing.T) {
	socket := needTPM(t)
	bridge(t, socket)
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
