// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// Attestation attests with a TPM 2.0: DPS knows the TPM by its endorsement key, and at each
// registration sends keys that this TPM alone can unwrap. Tokens for DPS and for the hub are signed
// inside of it. DPS takes it over HTTPS alone, of individual enrollments
// (Azure docs: "TPM attestation").
//
// It is safe for concurrent use, and must not be copied. Its fields must not be changed once it is
// in use.
type Attestation struct {
	// TPM is the one to use; nil is the machine's own.
	TPM *TPM

	// ID is the registration ID. Empty: a digest of the endorsement key, 52 letters and digits, as
	// the official clients have it. To find that out takes the TPM: give the ID where the TPM may
	// come up later than the program.
	ID string

	// Store keeps the keys that DPS gives, each encrypted by the TPM, so that this TPM alone can
	// use them; they are written at a registration. Its keys are the registration ID followed by
	// "~tpm-dps" and "~tpm-hub". The device's store is a good place. Nil: they are kept in memory,
	// and a program that is started again has to register before it can connect.
	Store cache.Store

	// DPSHandle and HubHandle are persistent handles, from 0x81000000 to 0x817fffff, at which the
	// TPM itself shall keep the key for DPS and the one for the hub; 0: at none, which spares its
	// memory. They must be the device's own: an HMAC key as DPS sends them that is found there is
	// replaced at the next registration. Anything else that is found there is left alone, and an
	// error says so. The handle that the official clients use, 0x81000100, is refused: they would
	// lose their key.
	DPSHandle, HubHandle uint32

	memory cache.Memory // the Store where there is none
	mu     sync.Mutex
	ek     []byte // TPM2B_PUBLIC of the endorsement key, once it is known
	name   []byte // its name
}

var (
	_ dps.Attestation = (*Attestation)(nil)
	_ dps.Endorsed    = (*Attestation)(nil)
	_ dps.Protector   = (*Attestation)(nil)
)

func (a *Attestation) module() *TPM { return or(a.TPM) }

// endorsement returns the public endorsement key and its name. They do not change while the process
// lives.
func (a *Attestation) endorsement(ctx context.Context) (public, name []byte, err error) {
	a.mu.Lock()
	public, name = a.ek, a.name
	a.mu.Unlock()
	if public != nil {
		return public, name, nil
	}
	o, err := run(ctx, a.module(), "endorsement key", func(x *exchange) (object, error) {
		o, err := x.primary(endorsementKey)
		if err == nil {
			x.release(o)
		}
		return o, err
	})
	if err != nil {
		return nil, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ek, a.name = o.public, o.name.Buffer
	return a.ek, a.name, nil
}

// PublicKeys returns the public endorsement key and storage root key, a TPM2B_PUBLIC each. The
// first, in base64, is what an operator enrolls.
func (a *Attestation) PublicKeys(ctx context.Context) (endorsement, storageRoot []byte, err error) {
	if endorsement, _, err = a.endorsement(ctx); err != nil {
		return nil, nil, err
	}
	root, err := run(ctx, a.module(), "storage root key", func(x *exchange) (object, error) {
		o, err := x.primary(rootKey)
		if err == nil {
			x.release(o)
		}
		return o, err
	})
	if err != nil {
		return nil, nil, err
	}
	return append([]byte(nil), endorsement...), root.public, nil
}

// firstLook is how long the TPM may take for its endorsement key where there is no context.
const firstLook = 2 * time.Minute

// RegistrationID returns ID or else the digest of the endorsement key; "" where the TPM cannot be
// read: Validate says why.
func (a *Attestation) RegistrationID() string {
	id, _ := a.id()
	return id
}

func (a *Attestation) id() (string, error) {
	if a.ID != "" {
		return a.ID, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), firstLook)
	defer cancel()
	endorsement, _, err := a.endorsement(ctx)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(endorsement)
	encoding := base32.StdEncoding.WithPadding(base32.NoPadding)
	return strings.ToLower(encoding.EncodeToString(digest[:])), nil
}

// validID is what DPS takes as a registration ID (Azure docs: "Registration ID").
var validID = regexp.MustCompile(`^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]$`)

// Validate checks the fields. It uses the TPM where ID is empty.
func (a *Attestation) Validate() error {
	id, err := a.id()
	if err == nil {
		err = a.checkFields(id)
	}
	if err != nil {
		return &dps.Error{Op: "validate", Err: err}
	}
	return nil
}

func (a *Attestation) checkFields(id string) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("tpm: id %q must be 1 to 128 letters, digits, '-', '.', '_' and ':', "+
			"and end in a letter, digit or '-': leave it empty for that of the TPM", id)
	}
	for name, handle := range map[string]uint32{
		"DPSHandle": a.DPSHandle, "HubHandle": a.HubHandle,
	} {
		switch {
		case handle == 0:
		case handle < 0x81000000 || handle > 0x817fffff:
			return fmt.Errorf("tpm: %s 0x%08x is none of the owner's persistent handles: "+
				"choose one from 0x81000000 to 0x817fffff", name, handle)
		case handle == rootHandle || handle == officialHandle:
			return fmt.Errorf("tpm: %s 0x%08x is where the official clients keep a key: "+
				"choose another", name, handle)
		}
	}
	if a.DPSHandle != 0 && a.DPSHandle == a.HubHandle {
		return fmt.Errorf("tpm: DPSHandle and HubHandle are both 0x%08x: choose two", a.HubHandle)
	}
	return nil
}

// Certificate returns nil: a TPM's keys sign tokens. [Keys] has keys for certificates.
func (a *Attestation) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

// Fingerprint is a digest of the endorsement key's name, and of whether there is a key for the hub:
// a device that has lost it, or has been given another TPM, sees that its credential has changed
// since it was assigned, and registers.
func (a *Attestation) Fingerprint(ctx context.Context) (string, error) {
	_, name, err := a.endorsement(ctx)
	if err != nil {
		return "", err
	}
	record, err := a.read(ctx, dps.ForHub)
	if err == nil {
		_, err = run(ctx, a.module(), "fingerprint", func(x *exchange) (struct{}, error) {
			key, err := x.hmacKey(tpm2.TPMHandle(a.handle(dps.ForHub)), record)
			if err == nil {
				x.release(key)
			}
			return struct{}{}, err
		})
	}
	text := append([]byte("rehome fingerprint v1\x00"), name...)
	switch {
	case errors.Is(err, ErrNoKey):
		text = append(text, "no key"...)
	case err != nil:
		return "", err
	}
	digest := sha256.Sum256(text)
	return hex.EncodeToString(digest[:16]), nil
}

// Token returns a SAS token for resource, signed inside the TPM: by the registration's key for
// DPS, "{scope}/registrations/{id}", and by the hub's for all else. Where there is no key it
// returns "" for DPS, which then challenges the TPM and so gives one, and for the hub an error that
// has [ErrNoKey] and calls for a registration.
func (a *Attestation) Token(
	ctx context.Context, resource string, expiry time.Time,
) (string, error) {
	if !strings.Contains(resource, "/registrations/") {
		return a.token(ctx, dps.ForHub, resource, expiry)
	}
	token, err := a.token(ctx, dps.ForDPS, resource, expiry)
	if errors.Is(err, ErrNoKey) {
		return "", nil
	}
	return token, err
}

func (a *Attestation) token(
	ctx context.Context, use dps.KeyUse, resource string, expiry time.Time,
) (string, error) {
	record, err := a.read(ctx, use)
	if err != nil {
		return "", err
	}
	return sas.TokenBy(resource, expiry, func(text []byte) ([]byte, error) {
		return run(ctx, a.module(), "token", func(x *exchange) ([]byte, error) {
			key, err := x.hmacKey(tpm2.TPMHandle(a.handle(use)), record)
			if err != nil {
				return nil, err
			}
			defer x.release(key)
			return x.hmac(key, text)
		})
	})
}

// Activate takes in a key that DPS has wrapped for this TPM, and keeps it: see Store.
func (a *Attestation) Activate(ctx context.Context, use dps.KeyUse, blob []byte) error {
	c, err := parseChallenge(blob)
	if err != nil {
		return a.failed("activate", err)
	}
	key, err := run(ctx, a.module(), "activate", func(x *exchange) (wrapped, error) {
		return x.activate(c)
	})
	if err != nil {
		return err
	}
	// The store first: a key that is persistent alone would be lost where the power goes between
	// the end of the old one and the new. The TPM is free meanwhile, since the store may need it.
	if err := a.store().Put(ctx, a.key(use), key.marshal()); err != nil {
		return a.failed("activate", err)
	}
	_, err = run(ctx, a.module(), "activate", func(x *exchange) (struct{}, error) {
		return struct{}{}, x.persist(tpm2.TPMHandle(a.handle(use)), key)
	})
	return err
}

// read returns a key as it is stored; the zero value where it is not, but may be persistent.
func (a *Attestation) read(ctx context.Context, use dps.KeyUse) (wrapped, error) {
	data, err := a.store().Get(ctx, a.key(use))
	switch {
	case errors.Is(err, cache.ErrMiss) && a.handle(use) != 0:
		return wrapped{}, nil
	case errors.Is(err, cache.ErrMiss):
		return wrapped{}, a.failed("token", fmt.Errorf(
			"%w %s in the store: a registration gives one", ErrNoKey, uses[use]))
	case err != nil:
		return wrapped{}, a.failed("token", err)
	}
	w, err := parseWrapped(data)
	if err != nil {
		return wrapped{}, a.failed("token", fmt.Errorf(
			"%w %s in the store, but something else: a registration gives one (%w)", ErrNoKey,
			uses[use], err))
	}
	return w, nil
}

var uses = map[dps.KeyUse]string{dps.ForDPS: "for DPS", dps.ForHub: "for the hub"}

func (a *Attestation) failed(op string, err error) error {
	return &Error{Op: op, Place: a.module().place(), Err: err}
}

func (a *Attestation) store() cache.Store {
	if a.Store != nil {
		return a.Store
	}
	return &a.memory
}

func (a *Attestation) key(use dps.KeyUse) string {
	if use == dps.ForDPS {
		return a.RegistrationID() + "~tpm-dps"
	}
	return a.RegistrationID() + "~tpm-hub"
}

func (a *Attestation) handle(use dps.KeyUse) uint32 {
	if use == dps.ForDPS {
		return a.DPSHandle
	}
	return a.HubHandle
}

// String names the device and the TPM.
func (a *Attestation) String() string {
	if a.ID == "" {
		return "attestation by the " + a.module().String()
	}
	return fmt.Sprintf("attestation of %q by the %s", a.ID, a.module())
}

// GoString is String.
func (a *Attestation) GoString() string { return a.String() }

// Format writes String for every verb: without it %+v would print what is stored in memory.
func (a *Attestation) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, a.String()) }

// LogValue is String.
func (a *Attestation) LogValue() slog.Value { return slog.StringValue(a.String()) }

// MarshalJSON writes the ID and the TPM's address.
func (a *Attestation) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID  string
		TPM *TPM
	}{a.ID, a.module()})
}
