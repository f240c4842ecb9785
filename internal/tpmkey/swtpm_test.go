// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/swtpm"
)

// simulatedTPM is a TPM in software and the tools of the TCG's software stack, neither of which
// shares a line with this package.
type simulatedTPM struct {
	t   *testing.T
	dir string
	env []string
}

func startTPM(t *testing.T) *simulatedTPM {
	t.Helper()
	swtpm.Need(t, "tpm2_activatecredential")
	env := append(os.Environ(), "TPM2TOOLS_TCTI=swtpm:path="+swtpm.Start(t).Socket)
	return &simulatedTPM{t: t, dir: t.TempDir(), env: env}
}

func (m *simulatedTPM) run(program string, args ...string) {
	m.t.Helper()
	c := exec.Command(program, args...)
	c.Dir, c.Env = m.dir, m.env
	out, err := c.CombinedOutput()
	require.NoError(m.t, err, "%s %v: %s", program, args, out)
	if program != "tpm2_flushcontext" {
		// The tools leave what they loaded, and there is room for three.
		m.run("tpm2_flushcontext", "-t")
	}
}

func (m *simulatedTPM) write(name string, data []byte) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.dir, name), data, 0o600))
}

func (m *simulatedTPM) read(name string) []byte {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	require.NoError(m.t, err)
	return data
}

func TestATPMUnwrapsTheKey(t *testing.T) {
	m := startTPM(t)
	m.run("tpm2_createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")
	m.run("tpm2_createprimary", "-C", "o", "-g", "sha256", "-G", "rsa2048:null:aes128cfb", "-c",
		"srk.ctx", "-a",
		"restricted|decrypt|fixedtpm|fixedparent|noda|userwithauth|sensitivedataorigin")
	m.run("tpm2_readpublic", "-c", "srk.ctx", "-o", "srk.pub", "-f", "tss")
	endorsement, err := ParsePublic(m.read("ek.pub"))
	require.NoError(t, err)
	root, err := ParsePublic(m.read("srk.pub"))
	require.NoError(t, err)

	for _, size := range []int{1, 16, 32, 64} {
		key := bytes.Repeat([]byte{0x5a}, size)
		blob, err := Wrap(endorsement, root, key)
		require.NoError(t, err)
		r := reader{rest: blob}
		identity, secret := r.sized(), r.sized()
		private, seed, area := r.sized(), r.sized(), r.sized()
		assert.Zero(t, r.uint16())
		require.NoError(t, r.err)
		assert.Empty(t, r.rest)

		// The tools put a header of their own before a credential.
		header := binary.BigEndian.AppendUint32(nil, 0xbadcc0de)
		header = binary.BigEndian.AppendUint32(header, 1)
		m.write("credential", bytes.Join([][]byte{header, sized(identity), sized(secret)}, nil))
		m.write("duplicate.priv", sized(private))
		m.write("duplicate.seed", sized(seed))
		m.write("duplicate.pub", sized(area))
		m.run("tpm2_startauthsession", "--policy-session", "-S", "session.ctx")
		m.run("tpm2_policysecret", "-S", "session.ctx", "-c", "e")
		m.run("tpm2_activatecredential", "-c", "srk.ctx", "-C", "ek.ctx", "-i", "credential",
			"-o", "inner", "-P", "session:session.ctx")
		m.run("tpm2_flushcontext", "session.ctx")
		m.run("tpm2_import", "-C", "srk.ctx", "-u", "duplicate.pub", "-i", "duplicate.priv",
			"-s", "duplicate.seed", "-k", "inner", "-r", "key.priv")
		m.run("tpm2_load", "-C", "srk.ctx", "-u", "duplicate.pub", "-r", "key.priv",
			"-c", "key.ctx")
		m.write("message", []byte("0ne00000001%2fregistrations%2fdev\n1700000000"))
		m.run("tpm2_hmac", "-c", "key.ctx", "-o", "mac", "message")
		mac := hmac.New(sha256.New, key)
		mac.Write(m.read("message"))
		assert.Equal(t, mac.Sum(nil), m.read("mac"), "a key of %d bytes", size)
	}
}
