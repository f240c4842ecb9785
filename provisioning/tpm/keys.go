// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"

	"github.com/google/go-tpm/tpm2"
)

// Keys makes private keys inside a TPM, which never leave it: ECDSA on P-256. A key is kept where
// the program likes, encrypted by the TPM so that this TPM alone can load it, and takes no place in
// the TPM while it is not used. It is a key for [dps.X509], for a certificate signing request and
// for TLS. Safe for concurrent use.
type Keys struct {
	// TPM is the one to use; nil is the machine's own.
	TPM *TPM
}

// Generate makes a key. The reference is the key as the TPM encrypted it, some 300 bytes: without
// it the key is lost.
func (k Keys) Generate(ctx context.Context) (key crypto.Signer, reference []byte, err error) {
	w, err := run(ctx, or(k.TPM), "generate", func(x *exchange) (wrapped, error) {
		root, err := x.primary(rootKey)
		if err != nil {
			return wrapped{}, err
		}
		defer x.release(root)
		made, err := tpm2.Create{
			ParentHandle: root.use(), InPublic: tpm2.New2B(signingTemplate),
		}.Execute(x)
		if err != nil {
			return wrapped{}, err
		}
		return wrapped{root.name, made.OutPublic, made.OutPrivate}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	s, err := k.signer(w)
	return s, w.marshal(), err
}

// Load returns the key of a reference. The TPM is asked whether it is one of its own.
func (k Keys) Load(ctx context.Context, reference []byte) (crypto.Signer, error) {
	w, err := parseWrapped(reference)
	if err != nil {
		return nil, k.failed("load", err)
	}
	s, err := k.signer(w)
	if err != nil {
		return nil, err
	}
	_, err = run(ctx, or(k.TPM), "load", func(x *exchange) (struct{}, error) {
		o, err := x.load(w)
		if err == nil {
			x.release(o)
		}
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Delete has nothing to do: the key is gone once its reference is. It returns an error for what is
// no reference.
func (k Keys) Delete(_ context.Context, reference []byte) error {
	if _, err := parseWrapped(reference); err != nil {
		return k.failed("delete", err)
	}
	return nil
}

func (k Keys) failed(op string, err error) error {
	return &Error{Op: op, Place: or(k.TPM).place(), Err: err}
}

var signingTemplate = tpm2.TPMTPublic{
	Type: tpm2.TPMAlgECC, NameAlg: tpm2.TPMAlgSHA256,
	ObjectAttributes: tpm2.TPMAObject{
		FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
		NoDA: true, SignEncrypt: true,
	},
	Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
		Scheme: tpm2.TPMTECCScheme{
			Scheme: tpm2.TPMAlgECDSA,
			Details: tpm2.NewTPMUAsymScheme(
				tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256},
			),
		},
		CurveID: tpm2.TPMECCNistP256,
	}),
	Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
}

func (k Keys) signer(w wrapped) (*signer, error) {
	public, err := w.publicKey()
	if err != nil {
		return nil, k.failed("load", err)
	}
	return &signer{or(k.TPM), w, public}, nil
}

var errNotSigning = errors.New("it is no ECDSA key on P-256")

func (w wrapped) publicKey() (*ecdsa.PublicKey, error) {
	area, err := w.public.Contents()
	if err != nil {
		return nil, err
	}
	parameters, err := area.Parameters.ECCDetail()
	if err != nil || parameters.CurveID != tpm2.TPMECCNistP256 {
		return nil, errNotSigning
	}
	point, err := area.Unique.ECC()
	if err != nil || len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, errNotSigning
	}
	raw := make([]byte, 65) // uncompressed: 4, X, Y
	raw[0] = 4
	copy(raw[33-len(point.X.Buffer):], point.X.Buffer)
	copy(raw[65-len(point.Y.Buffer):], point.Y.Buffer)
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), raw)
	if err != nil {
		return nil, errNotSigning
	}
	return public, nil
}

// signer is a key in the TPM.
type signer struct {
	tpm     *TPM
	wrapped wrapped
	public  *ecdsa.PublicKey
}

// Public returns the *ecdsa.PublicKey.
func (s *signer) Public() crypto.PublicKey { return s.public }

// Sign signs a digest of SHA-256 or a longer one, of which ECDSA uses the first 256 bits on this
// curve (FIPS 186-5, section 6.4). The random numbers are the TPM's.
func (s *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	const size = 32
	if len(digest) < size || opts != nil && opts.HashFunc() != 0 &&
		len(digest) != opts.HashFunc().Size() {
		return nil, &Error{Op: "sign", Place: s.tpm.place(), Err: fmt.Errorf(
			"a digest of %d bytes: use SHA-256, or another hash as long or longer", len(digest))}
	}
	return run(context.Background(), s.tpm, "sign", func(x *exchange) ([]byte, error) {
		key, err := x.load(s.wrapped)
		if err != nil {
			return nil, err
		}
		defer x.release(key)
		signed, err := tpm2.Sign{
			KeyHandle: key.use(), Digest: tpm2.TPM2BDigest{Buffer: digest[:size]},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
		}.Execute(x)
		if err != nil {
			return nil, err
		}
		signature, err := signed.Signature.Signature.ECDSA()
		if err != nil {
			return nil, err
		}
		return asn1.Marshal(struct{ R, S *big.Int }{
			new(big.Int).SetBytes(signature.SignatureR.Buffer),
			new(big.Int).SetBytes(signature.SignatureS.Buffer),
		})
	})
}

// String says where the key is.
func (s *signer) String() string { return "ECDSA key on P-256 in the " + s.tpm.String() }

// GoString is String.
func (s *signer) GoString() string { return s.String() }

// Format writes String for every verb.
func (s *signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s *signer) LogValue() slog.Value { return slog.StringValue(s.String()) }
