// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// Names of curves in CKA_EC_PARAMS (RFC 5480, section 2.1.1.1).
var (
	oidP256 = mustDER(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})
	oidP384 = mustDER(asn1.ObjectIdentifier{1, 3, 132, 0, 34})
)

func mustDER(oid asn1.ObjectIdentifier) []byte {
	der, err := asn1.Marshal(oid)
	if err != nil {
		panic(err) // it is a constant
	}
	return der
}

// all returns the objects that match, those of the token alone.
func (s *session) all(match ...*pkcs11.Attribute) (found []pkcs11.ObjectHandle, err error) {
	match = append(match, pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true))
	if err := s.FindObjectsInit(s.handle, match); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.FindObjectsFinal(s.handle)) }()
	for {
		some, _, err := s.FindObjects(s.handle, 32)
		if err != nil || len(some) == 0 {
			return found, err
		}
		found = append(found, some...)
	}
}

func class(of uint) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_CLASS, of) }

func withID(id []byte) *pkcs11.Attribute { return pkcs11.NewAttribute(pkcs11.CKA_ID, id) }

func withLabel(label string) *pkcs11.Attribute {
	return pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)
}

// privateKeys are those that match.
func (s *session) privateKeys(match ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	return s.all(append(match, class(pkcs11.CKO_PRIVATE_KEY))...)
}

// privateKey is the one with the ID.
func (s *session) privateKey(id []byte) (pkcs11.ObjectHandle, error) {
	if len(id) == 0 {
		return 0, because(ErrNoKey, "the reference is empty")
	}
	found, err := s.privateKeys(withID(id))
	switch {
	case err != nil:
		return 0, err
	case len(found) == 0:
		return 0, because(ErrNoKey, "it was removed, or it is another token's")
	case len(found) > 1:
		return 0, because(ErrNoKey, "%d keys have its ID", len(found))
	}
	return found[0], nil
}

// value is an attribute of an object. Modules answer with as many as they were asked for.
func (s *session) value(object pkcs11.ObjectHandle, attribute uint) ([]byte, error) {
	got, err := s.GetAttributeValue(
		s.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(attribute, nil)},
	)
	if err != nil {
		return nil, err
	}
	if len(got) != 1 {
		return nil, errors.New("the module's answer has no value")
	}
	return got[0].Value, nil
}

// is says whether an attribute is CK_TRUE.
func (s *session) is(object pkcs11.ObjectHandle, attribute uint) (bool, error) {
	v, err := s.value(object, attribute)
	return len(v) == 1 && v[0] != 0, err // CK_BBOOL: CK_FALSE is 0
}

// public is the public key with the ID.
func (s *session) public(id []byte) (*ecdsa.PublicKey, error) {
	found, err := s.all(withID(id), class(pkcs11.CKO_PUBLIC_KEY))
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, because(ErrNoKey, "its public half is not there")
	}
	curve, err := s.value(found[0], pkcs11.CKA_EC_PARAMS)
	if err != nil {
		return nil, fmt.Errorf("it is no ECDSA key: %w", err)
	}
	point, err := s.value(found[0], pkcs11.CKA_EC_POINT)
	if err != nil {
		return nil, err
	}
	return publicKey(curve, point)
}

// publicKey reads a public key. The point is an OCTET STRING in DER; older modules have it bare.
// That comes first: one in 256 bare points begins as if it were an OCTET STRING, and the other way
// round the lengths differ.
func publicKey(curve, point []byte) (*ecdsa.PublicKey, error) {
	var on elliptic.Curve
	switch {
	case bytes.Equal(curve, oidP256):
		on = elliptic.P256()
	case bytes.Equal(curve, oidP384):
		on = elliptic.P384()
	default:
		return nil, errors.New("it is no ECDSA key on P-256 or P-384")
	}
	public, err := ecdsa.ParseUncompressedPublicKey(on, point)
	var inner []byte
	if err != nil {
		if rest, bad := asn1.Unmarshal(point, &inner); bad == nil && len(rest) == 0 {
			public, err = ecdsa.ParseUncompressedPublicKey(on, inner)
		}
	}
	if err != nil {
		return nil, errors.New("its public half is no point of its curve")
	}
	return public, nil
}

// make makes a key pair on P-256 in the token, and makes sure that it cannot be taken out.
func (s *session) make(id []byte, label string) error {
	_, private, err := s.GenerateKeyPair(
		s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)},
		[]*pkcs11.Attribute{
			withID(id), withLabel(label),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true),
			pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, oidP256),
		},
		[]*pkcs11.Attribute{
			withID(id), withLabel(label),
			pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true),
			pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
			pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
			pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
			pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		},
	)
	if err != nil {
		return err
	}
	sensitive, err := s.is(private, pkcs11.CKA_SENSITIVE)
	if err == nil {
		var extractable bool
		extractable, err = s.is(private, pkcs11.CKA_EXTRACTABLE)
		if err == nil && (!sensitive || extractable) {
			err = errors.New("the token makes no key that stays in it: it is of no use here")
		}
	}
	if err != nil {
		return errors.Join(err, s.destroy(id))
	}
	return nil
}

// destroy removes a key pair: the private half last, which all that looks for keys goes by.
func (s *session) destroy(id []byte) error {
	for _, half := range []uint{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_PRIVATE_KEY} {
		found, err := s.all(withID(id), class(half))
		if err != nil {
			return err
		}
		for _, object := range found {
			if err := s.DestroyObject(s.handle, object); err != nil {
				return err
			}
		}
	}
	return nil
}

// A Key is what a token has.
type Key struct {
	ID          []byte // the reference of [Keys]
	Label       string
	Extractable bool // of those that were made here: false
}

// List returns the private keys in the token, whoever made them.
func (t *Token) List(ctx context.Context) ([]Key, error) {
	return run(ctx, t, "list", reads, func(s *session) ([]Key, error) {
		found, err := s.privateKeys()
		if err != nil {
			return nil, err
		}
		keys := make([]Key, 0, len(found))
		for _, object := range found {
			id, err := s.value(object, pkcs11.CKA_ID)
			if err != nil {
				return nil, err
			}
			label, err := s.value(object, pkcs11.CKA_LABEL)
			if err != nil {
				return nil, err
			}
			extractable, err := s.is(object, pkcs11.CKA_EXTRACTABLE)
			if err != nil {
				return nil, err
			}
			keys = append(keys, Key{id, string(label), extractable})
		}
		return keys, nil
	})
}
