// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"

	"github.com/google/go-tpm/tpm2"
)

// Where the official clients keep their primary keys, and the HMAC key that each of their
// activations replaces. Azure IoT SDK for C, hsm_client_tpm.c.
const (
	endorsementHandle = 0x81010001
	rootHandle        = 0x81000001
	officialHandle    = 0x81000100
)

// primary is a key that a TPM makes anew, and always the same, of a seed that it never shows. It
// needs no place in the TPM while it is not used.
type primary struct {
	label    string
	handle   tpm2.TPMHandle // where it may be persistent, put there by others; 0: nowhere
	template tpm2.TPMTPublic
	owner    func(*TPM) tpm2.AuthHandle
}

// The endorsement key and the storage root key are made by the TCG's templates for RSA of 2048 bits
// (TCG EK Credential Profile, template L-1; TCG TPM v2.0 Provisioning Guidance), as those of the
// official C# client and of tpm2_createek are, and as a manufacturer's certificate has them. The
// official C and Node clients leave the template's unique field empty, of which a TPM makes another
// key; where they have been, the keys are persistent, and are used.
var (
	endorsementKey = primary{
		"endorsement", endorsementHandle, tpm2.RSAEKTemplate, (*TPM).endorser,
	}
	rootKey = primary{"root", rootHandle, tpm2.RSASRKTemplate, (*TPM).owner}
)

// sealingKey is an HMAC key that no program ever holds.
var sealingKey = primary{"seal", 0, hmacTemplate("rehome seal v1"), (*TPM).owner}

// hmacTemplate is that of an HMAC key which is as good as its label is another: the label is a part
// of what the TPM makes the key of.
func hmacTemplate(label string) tpm2.TPMTPublic {
	unique := make([]byte, 32)
	copy(unique, label)
	return tpm2.TPMTPublic{
		Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true, UserWithAuth: true,
			NoDA: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{
			Scheme: tpm2.TPMTKeyedHashScheme{
				Scheme: tpm2.TPMAlgHMAC,
				Details: tpm2.NewTPMUSchemeKeyedHash(
					tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: tpm2.TPMAlgSHA256},
				),
			},
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: unique}),
	}
}

// saved is a primary key as the TPM itself encrypted it for the time until it is reset. To load it
// takes a moment, where making an RSA key takes some TPMs half a minute.
type saved struct {
	context tpm2.TPMSContext
	object  object
}

// primary loads a primary key; the caller releases it. One that others have made persistent is used
// where it is.
func (x *exchange) primary(p primary) (object, error) {
	if p.handle != 0 {
		if o, ok := x.persistent(p.handle, p.template); ok {
			return o, nil
		}
	}
	if s, ok := x.tpm.saved[p.label]; ok {
		if loaded, err := (tpm2.ContextLoad{Context: s.context}).Execute(x); err == nil {
			o := s.object
			o.handle = tpm2.TPMHandle(loaded.LoadedHandle)
			return o, nil
		}
		delete(x.tpm.saved, p.label) // the TPM was reset
	}
	made, err := tpm2.CreatePrimary{
		PrimaryHandle: p.owner(x.tpm), InPublic: tpm2.New2B(p.template),
	}.Execute(x)
	if err != nil {
		return object{}, err
	}
	o := object{handle: made.ObjectHandle, name: made.Name, public: tpm2.Marshal(made.OutPublic)}
	context, err := tpm2.ContextSave{SaveHandle: o.handle}.Execute(x)
	if err == nil {
		x.tpm.saved[p.label] = saved{context.Context, o}
	}
	return o, nil // not saved, it is made anew the next time
}

// persistent is the object at a handle, if it is of the template.
func (x *exchange) persistent(handle tpm2.TPMHandle, template tpm2.TPMTPublic) (object, bool) {
	found, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(x)
	if err != nil {
		return object{}, false
	}
	o := object{
		handle: handle, name: found.Name, public: tpm2.Marshal(found.OutPublic), persistent: true,
	}
	public, err := found.OutPublic.Contents()
	if err != nil || public.Type != template.Type {
		return object{}, false
	}
	template.Unique = public.Unique
	return o, bytes.Equal(tpm2.Marshal(template), found.OutPublic.Bytes())
}
