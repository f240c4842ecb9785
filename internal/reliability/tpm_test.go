// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/internal/tpmkey"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// softTPM makes a TPM's keys once: RSA keys take long.
var softTPM = sync.OnceValues(tpmkey.NewSoft)

// byTPM has a TPM say to DPS who the device is.
func byTPM(w *world, e *dpstest.IndividualEnrollment) {
	soft, err := softTPM()
	if err != nil {
		w.Fatal(err)
	}
	e.Attestation = dpstest.Attestation{TPM: &dpstest.TPM{
		EndorsementKey: base64.StdEncoding.EncodeToString(soft.EndorsementKey()),
	}}
	w.who = &endorsed{SymmetricKey: w.key(), soft: soft, keys: map[dps.KeyUse][]byte{}}
}

// endorsed is the attestation of a device with a TPM. What is not about the service is that of a
// key.
type endorsed struct {
	dps.SymmetricKey
	soft *tpmkey.Soft

	mu   sync.Mutex
	keys map[dps.KeyUse][]byte
}

func (e *endorsed) PublicKeys(context.Context) (endorsement, storageRoot []byte, err error) {
	return e.soft.EndorsementKey(), e.soft.StorageRootKey(), nil
}

func (e *endorsed) Activate(_ context.Context, use dps.KeyUse, wrapped []byte) error {
	key, err := e.soft.Unwrap(wrapped)
	if err == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.keys[use] = key
	}
	return err
}

func (e *endorsed) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	use := dps.ForHub
	if strings.Contains(resource, "/registrations/") {
		use = dps.ForDPS
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.keys[use] == nil {
		return "", nil
	}
	return sas.Token(resource, e.keys[use], expiry), nil
}
