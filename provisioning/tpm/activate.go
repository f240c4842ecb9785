// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"errors"

	"github.com/google/go-tpm/tpm2"
)

// challenge is what the service calls authenticationKey: an HMAC key that is wrapped for the holder
// of both the endorsement key and the storage root key (Azure IoT SDK for C#,
// SecurityProviderTpmHsm.ActivateIdentityKey, for the order of its parts).
type challenge struct {
	credential, secret []byte // of the inner key, for the endorsement key
	duplicate, seed    []byte // the HMAC key, for the storage root key and the inner key
	public             []byte
}

// nonce is the most that a session proves to be fresh.
const nonce = 16

var errChallenge = errors.New("the key that the service sent is cut short or no HMAC key")

func parseChallenge(blob []byte) (challenge, error) {
	// What follows the five parts is of no use to clients.
	parts, _ := sized(blob, 5)
	if parts == nil {
		return challenge{}, errChallenge
	}
	c := challenge{parts[0], parts[1], parts[2], parts[3], parts[4]}
	public, err := tpm2.Unmarshal[tpm2.TPMTPublic](c.public)
	if err != nil || public.Type != tpm2.TPMAlgKeyedHash || !public.ObjectAttributes.SignEncrypt {
		return challenge{}, errChallenge
	}
	return c, nil
}

// activate proves to the TPM that the challenge is for it, and takes the key in.
func (x *exchange) activate(c challenge) (wrapped, error) {
	root, err := x.primary(rootKey)
	if err != nil {
		return wrapped{}, err
	}
	defer x.release(root)
	inner, err := x.innerKey(root, c)
	if err != nil {
		return wrapped{}, err
	}
	public := tpm2.BytesAs2B[tpm2.TPMTPublic](c.public)
	imported, err := tpm2.Import{
		ParentHandle:  root.use(),
		EncryptionKey: tpm2.TPM2BData{Buffer: inner},
		ObjectPublic:  public,
		Duplicate:     tpm2.TPM2BPrivate{Buffer: c.duplicate},
		InSymSeed:     tpm2.TPM2BEncryptedSecret{Buffer: c.seed},
		Symmetric: tpm2.TPMTSymDef{
			Algorithm: tpm2.TPMAlgAES,
			KeyBits:   tpm2.NewTPMUSymKeyBits(tpm2.TPMAlgAES, tpm2.TPMKeyBits(128)),
			Mode:      tpm2.NewTPMUSymMode(tpm2.TPMAlgAES, tpm2.TPMAlgCFB),
		},
	}.Execute(x)
	if err != nil {
		return wrapped{}, err
	}
	return wrapped{root.name, public, imported.OutPrivate}, nil
}

// innerKey unwraps the key of the inner wrapper. The endorsement key is used under a policy: the
// endorsement hierarchy has to agree.
func (x *exchange) innerKey(root object, c challenge) ([]byte, error) {
	endorsement, err := x.primary(endorsementKey)
	if err != nil {
		return nil, err
	}
	defer x.release(endorsement)
	session, end, err := tpm2.PolicySession(x, tpm2.TPMAlgSHA256, nonce)
	if err != nil {
		return nil, err
	}
	defer func() { _ = end() }()
	if _, err := (tpm2.PolicySecret{
		AuthHandle: x.tpm.endorser(), PolicySession: session.Handle(),
		NonceTPM: session.NonceTPM(),
	}).Execute(x); err != nil {
		return nil, err
	}
	activated, err := tpm2.ActivateCredential{
		ActivateHandle: root.use(),
		KeyHandle: tpm2.AuthHandle{
			Handle: endorsement.handle, Name: endorsement.name, Auth: session,
		},
		CredentialBlob: tpm2.TPM2BIDObject{Buffer: c.credential},
		Secret:         tpm2.TPM2BEncryptedSecret{Buffer: c.secret},
	}.Execute(x)
	if err != nil {
		return nil, err
	}
	return activated.CertInfo.Buffer, nil
}

// hmac is HMAC-SHA256 of a text of any length. One command takes 1024 bytes, as many as any TPM
// takes (PC Client Platform TPM Profile, MAX_DIGEST_BUFFER).
func (x *exchange) hmac(key object, text []byte) ([]byte, error) {
	if len(text) <= mostAtOnce {
		mac, err := tpm2.Hmac{
			Handle: key.use(), Buffer: tpm2.TPM2BMaxBuffer{Buffer: text},
			HashAlg: tpm2.TPMAlgSHA256,
		}.Execute(x)
		if err != nil {
			return nil, err
		}
		return mac.OutHMAC.Buffer, nil
	}
	started, err := tpm2.HmacStart{Handle: key.use(), HashAlg: tpm2.TPMAlgSHA256}.Execute(x)
	if err != nil {
		return nil, err
	}
	sequence := tpm2.AuthHandle{
		Handle: tpm2.TPMHandle(started.SequenceHandle), Auth: tpm2.PasswordAuth(nil),
	}
	mac, err := x.continueHMAC(sequence, text)
	if err != nil {
		x.release(object{handle: sequence.Handle}) // its end would have
	}
	return mac, err
}

const mostAtOnce = 1024

func (x *exchange) continueHMAC(sequence tpm2.AuthHandle, text []byte) ([]byte, error) {
	for len(text) > mostAtOnce {
		if _, err := (tpm2.SequenceUpdate{
			SequenceHandle: sequence, Buffer: tpm2.TPM2BMaxBuffer{Buffer: text[:mostAtOnce]},
		}).Execute(x); err != nil {
			return nil, err
		}
		text = text[mostAtOnce:]
	}
	completed, err := tpm2.SequenceComplete{
		SequenceHandle: sequence, Buffer: tpm2.TPM2BMaxBuffer{Buffer: text},
		Hierarchy: tpm2.TPMRHNull,
	}.Execute(x)
	if err != nil {
		return nil, err
	}
	return completed.Result.Buffer, nil
}

// isHMACKey is whether a public area is that of a key as DPS makes them, to be kept by the device:
// not bound to one TPM by birth.
func isHMACKey(public tpm2.TPM2BPublic) bool {
	area, err := public.Contents()
	if err != nil || area.Type != tpm2.TPMAlgKeyedHash {
		return false
	}
	a := area.ObjectAttributes
	return a.SignEncrypt && !a.Decrypt && !a.Restricted && !a.FixedTPM && !a.FixedParent &&
		len(area.AuthPolicy.Buffer) == 0 && !bytes.Equal(public.Bytes(), nil)
}
