// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/rehome-iot/rehome/provisioning"
)

// Keys makes the keys of one device, on P-256. A reference is the key's CKA_ID: 16 random bytes.
// Safe for concurrent use; two processes must not have the same device at once.
type Keys struct {
	// Token is where the keys are. Required.
	Token *Token

	// Device tells the keys of devices that share a token apart, such as by the registration ID: it
	// is part of their labels. Required.
	Device string
}

var _ provisioning.KeyStore = Keys{}

func (k Keys) label() string { return "rehome " + k.Device }

// newLabel is that of a key which has not signed anything. No device's label is another's new one.
func (k Keys) newLabel() string { return "rehome-new " + k.Device }

// Generate makes a key pair in the token. Before that it removes those that a process was killed
// with before it could use them.
func (k Keys) Generate(ctx context.Context) (key crypto.Signer, reference []byte, err error) {
	made, err := run(ctx, k.Token, "generate", changes, func(s *session) (*signer, error) {
		if err := k.sweep(s); err != nil {
			return nil, err
		}
		id, err := k.make(s)
		if err != nil {
			return nil, err
		}
		public, err := s.public(id)
		if err != nil {
			return nil, errors.Join(err, s.destroy(id))
		}
		return &signer{token: k.Token, id: id, public: public, keys: k}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	return made, made.id, nil
}

func (k Keys) sweep(s *session) error {
	left, err := s.privateKeys(withLabel(k.newLabel()))
	if err != nil {
		return err
	}
	for _, object := range left {
		id, err := s.value(object, pkcs11.CKA_ID)
		if err == nil && len(id) > 0 {
			err = s.destroy(id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// make makes a key whose label says that it is new, if the token will let that be changed.
func (k Keys) make(s *session) (id []byte, err error) {
	id = make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	if k.Token.fixed {
		return id, s.make(id, k.label())
	}
	if err := s.make(id, k.newLabel()); err != nil {
		return nil, err
	}
	err = s.relabel(id, k.newLabel())
	if !isRefusal(err) {
		return id, err
	}
	if err := s.destroy(id); err != nil {
		return nil, err
	}
	k.Token.fixed = true
	return id, s.make(id, k.label())
}

func (s *session) relabel(id []byte, label string) error {
	private, err := s.privateKey(id)
	if err != nil {
		return err
	}
	return s.SetAttributeValue(s.handle, private, []*pkcs11.Attribute{withLabel(label)})
}

// isRefusal says that a token does not change the attributes of what it has.
func isRefusal(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case pkcs11.CKR_ATTRIBUTE_READ_ONLY, pkcs11.CKR_ACTION_PROHIBITED,
		pkcs11.CKR_FUNCTION_NOT_SUPPORTED, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:
		return true
	}
	return false
}

// Load returns the key of a reference.
func (k Keys) Load(ctx context.Context, reference []byte) (crypto.Signer, error) {
	return load(ctx, k.Token, reads, k, func(s *session) ([]byte, error) {
		_, err := s.privateKey(reference)
		return reference, err
	})
}

// Delete removes the key of a reference from the token. One that is not there is no error.
func (k Keys) Delete(ctx context.Context, reference []byte) error {
	if len(reference) == 0 {
		return nil // keys of other programs may have no ID
	}
	_, err := run(ctx, k.Token, "delete", changes, func(s *session) (struct{}, error) {
		return struct{}{}, s.destroy(reference)
	})
	return err
}

// Find returns the key with a label, which somebody has put into the token or Make has made: on
// P-256 or P-384. It is not one of [Keys], and never removed.
func (t *Token) Find(ctx context.Context, label string) (crypto.Signer, error) {
	return load(ctx, t, reads, Keys{}, func(s *session) ([]byte, error) {
		return s.labelled(label)
	})
}

func (s *session) labelled(label string) ([]byte, error) {
	found, err := s.privateKeys(withLabel(label))
	switch {
	case err != nil:
		return nil, err
	case label == "":
		return nil, because(ErrNoKey, "its label is empty")
	case len(found) == 0:
		return nil, because(ErrNoKey, "none has the label %q", label)
	case len(found) > 1:
		return nil, fmt.Errorf("%d keys have the label %q: give each its own", len(found), label)
	}
	return s.value(found[0], pkcs11.CKA_ID)
}

// Make makes a key with a label, on P-256, or returns the one that is there.
func (t *Token) Make(ctx context.Context, label string) (crypto.Signer, error) {
	return load(ctx, t, changes, Keys{}, func(s *session) ([]byte, error) {
		id, err := s.labelled(label)
		if label == "" || !errors.Is(err, ErrNoKey) {
			return id, err
		}
		id = make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		return id, s.make(id, label)
	})
}

func load(
	ctx context.Context, t *Token, a access, keys Keys, find func(*session) ([]byte, error),
) (crypto.Signer, error) {
	return run(ctx, t, "load", a, func(s *session) (crypto.Signer, error) {
		id, err := find(s)
		if err != nil {
			return nil, err
		}
		public, err := s.public(id)
		if err != nil {
			return nil, err
		}
		return &signer{token: t, id: id, public: public, keys: keys}, nil
	})
}
