// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestPairFilesWithoutAPairSayWhyInEveryMethod(t *testing.T) {
	ctx, present := t.Context(), filepath.Join(t.TempDir(), "device.pem")
	require.NoError(t, os.WriteFile(present, nil, 0o600))
	for want, files := range map[string]*dps.X509Files{
		"certificate file is empty": {},
		"key file is empty":         {CertificateFile: present},
		"interval -1s is negative":  {Interval: -time.Second},
	} {
		_, certificate := files.Certificate(ctx)
		_, fingerprint := files.Fingerprint(ctx)
		_, seal := files.Seal(ctx, nil)
		_, current := files.Current(ctx)
		_, registered := (&dps.Client{IDScope: "0ne1", Attestation: files}).Register(
			ctx, dps.Registration{},
		)
		for _, err := range []error{
			files.Validate(), certificate, fingerprint, seal, current, files.Verify(ctx, nil, nil),
			registered,
		} {
			require.ErrorContains(t, err, want)
		}
		assert.Empty(t, files.RegistrationID())
	}
}

func TestPairFilesNeverPrintTheirKey(t *testing.T) {
	f := newPairFiles(t)
	pair := f.renew("dev")
	f.current()
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	require.True(t, ok)
	encoded, err := json.Marshal(f.files)
	require.NoError(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "files", f.files)
	client := dps.Client{Attestation: f.files}
	raw, err := key.Bytes()
	require.NoError(t, err)
	number := fmt.Sprint(raw[:8])
	for _, text := range []string{
		string(encoded), log.String(), f.files.GoString(),
		fmt.Sprintf("%v %+v %#v %s %x %d", f.files, f.files, f.files, f.files, f.files, f.files),
		fmt.Sprintf("%v %+v %#v", client, client, client),
	} {
		assert.Contains(t, text, "device.key")
		assert.NotContains(t, text, strings.Trim(number, "[]"))
		assert.NotContains(t, text, fmt.Sprintf("%x", raw[:8]))
	}
}
