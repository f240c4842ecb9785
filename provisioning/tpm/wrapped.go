// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// wrapped is a key as the TPM hands it out: encrypted under its storage root key, so that this TPM
// alone can load it.
type wrapped struct {
	root    tpm2.TPM2BName // of the storage root key
	public  tpm2.TPM2BPublic
	private tpm2.TPM2BPrivate
}

// magic begins a wrapped key as it is stored, and is its version.
const magic = "rehome tpm key 1\n"

func (w wrapped) marshal() []byte {
	return bytes.Join([][]byte{
		[]byte(magic), tpm2.Marshal(w.root), tpm2.Marshal(w.public), tpm2.Marshal(w.private),
	}, nil)
}

var (
	errNotWrapped = errors.New("it is no key of a TPM")
	errForeign    = errors.New("the key belongs to another TPM, or to this one before it was " +
		"cleared")
)

func parseWrapped(data []byte) (wrapped, error) {
	rest, ok := bytes.CutPrefix(data, []byte(magic))
	fields, rest := sized(rest, 3)
	if !ok || fields == nil || len(rest) > 0 {
		return wrapped{}, errNotWrapped
	}
	w := wrapped{
		root:    tpm2.TPM2BName{Buffer: fields[0]},
		public:  tpm2.BytesAs2B[tpm2.TPMTPublic](fields[1]),
		private: tpm2.TPM2BPrivate{Buffer: fields[2]},
	}
	if _, err := w.public.Contents(); err != nil {
		return wrapped{}, errNotWrapped
	}
	return w, nil
}

// sized takes n fields off the front that each begin with their size; nil if it ends early.
func sized(data []byte, n int) (fields [][]byte, rest []byte) {
	for range n {
		if len(data) < 2 {
			return nil, nil
		}
		size := int(data[0])<<8 | int(data[1])
		if data = data[2:]; len(data) < size {
			return nil, nil
		}
		fields = append(fields, bytes.Clone(data[:size]))
		data = data[size:]
	}
	return fields, data
}

// load loads a wrapped key; the caller releases it.
func (x *exchange) load(w wrapped) (object, error) {
	root, err := x.primary(rootKey)
	if err != nil {
		return object{}, err
	}
	defer x.release(root)
	if !bytes.Equal(root.name.Buffer, w.root.Buffer) {
		return object{}, errForeign
	}
	loaded, err := tpm2.Load{
		ParentHandle: root.use(), InPrivate: w.private, InPublic: w.public,
	}.Execute(x)
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return object{}, fmt.Errorf("%w, or was damaged (%w)", errForeign, err)
	}
	if err != nil {
		return object{}, err
	}
	return object{
		handle: loaded.ObjectHandle, name: loaded.Name, public: tpm2.Marshal(w.public),
	}, nil
}
