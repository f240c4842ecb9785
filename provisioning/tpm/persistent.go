// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// hmacKey is the key at a persistent handle, if that is the one in the store or the store has none;
// otherwise the one in the store. The caller releases it.
func (x *exchange) hmacKey(handle tpm2.TPMHandle, stored wrapped) (object, error) {
	missing := len(stored.root.Buffer) == 0
	if handle != 0 {
		o, public, err := x.at(handle)
		switch {
		case err != nil:
			return object{}, err
		case public == nil && missing, missing && !isHMACKey(*public):
			return object{}, fmt.Errorf("%w at handle 0x%08x, and none in the store: "+
				"a registration gives one", ErrNoKey, uint32(handle))
		case missing, public != nil && bytes.Equal(public.Bytes(), stored.public.Bytes()):
			return o, nil
		}
	}
	key, err := x.load(stored)
	if errors.Is(err, errForeign) {
		err = fmt.Errorf("%w that this TPM can use: %w: a registration gives one", ErrNoKey, err)
	}
	return key, err
}

// persist keeps a key at a persistent handle. It replaces what can only be the earlier key of the
// same device.
func (x *exchange) persist(handle tpm2.TPMHandle, key wrapped) error {
	if handle == 0 {
		return nil
	}
	o, public, err := x.at(handle)
	if err != nil {
		return err
	}
	if public != nil && !isHMACKey(*public) {
		return fmt.Errorf("at handle 0x%08x is a key of somebody else: choose another handle",
			uint32(handle))
	}
	loaded, err := x.load(key)
	if err != nil {
		return err
	}
	defer x.release(loaded)
	if public != nil {
		if err := x.evict(o, handle); err != nil {
			return err
		}
	}
	return x.evict(loaded, handle)
}

// evict makes an object persistent at a handle or, of the persistent one itself, ends that.
func (x *exchange) evict(o object, handle tpm2.TPMHandle) error {
	_, err := tpm2.EvictControl{
		Auth:             x.tpm.owner(),
		ObjectHandle:     &tpm2.NamedHandle{Handle: o.handle, Name: o.name},
		PersistentHandle: handle,
	}.Execute(x)
	return err
}

// at is the object at a persistent handle; its public area is nil where there is none.
func (x *exchange) at(handle tpm2.TPMHandle) (object, *tpm2.TPM2BPublic, error) {
	found, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(x)
	if errors.Is(err, tpm2.TPMRCHandle) {
		return object{}, nil, nil
	}
	if err != nil {
		return object{}, nil, err
	}
	o := object{
		handle: handle, name: found.Name, public: tpm2.Marshal(found.OutPublic), persistent: true,
	}
	return o, &found.OutPublic, nil
}
