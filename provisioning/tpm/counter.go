// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// counterSize is that of a counter of a TPM, in bytes.
const counterSize = 8

// counterArea is the public area of a counter which its maker need not know a password for, and
// whose use no lockout stops.
func counterArea(index uint32) tpm2.TPMSNVPublic {
	return tpm2.TPMSNVPublic{
		NVIndex: tpm2.TPMHandle(index), NameAlg: tpm2.TPMAlgSHA256, DataSize: counterSize,
		Attributes: tpm2.TPMANV{
			OwnerWrite: true, AuthWrite: true, OwnerRead: true, AuthRead: true, NoDA: true,
			NT: tpm2.TPMNTCounter,
		},
	}
}

// counter is one in the TPM's memory. Such a counter only goes up, also where it is undefined and
// defined again (TPM 2.0 library, part 1, "NV Counters").
type counter struct {
	x      *exchange
	handle tpm2.AuthHandle
}

// counter finds the counter, and defines it where it is not there.
func (x *exchange) counter(index uint32) (counter, error) {
	found, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(x)
	if errors.Is(err, tpm2.TPMRCHandle) {
		if _, err := (tpm2.NVDefineSpace{
			AuthHandle: x.tpm.owner(), PublicInfo: tpm2.New2B(counterArea(index)),
		}).Execute(x); err != nil {
			return counter{}, err
		}
		found, err = tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(x)
	}
	if err != nil {
		return counter{}, err
	}
	area, err := found.NVPublic.Contents()
	if err != nil {
		return counter{}, err
	}
	written := area.Attributes.Written
	area.Attributes.Written = false
	if !bytes.Equal(tpm2.Marshal(*area), tpm2.Marshal(counterArea(index))) {
		return counter{}, fmt.Errorf("index 0x%08x is in use for something else: choose another",
			index)
	}
	c := counter{x, tpm2.AuthHandle{
		Handle: tpm2.TPMHandle(index), Name: found.NVName, Auth: tpm2.PasswordAuth(nil),
	}}
	if written {
		return c, nil
	}
	if err := c.increment(); err != nil { // before that it has no value
		return counter{}, err
	}
	// Its name has changed with its first value.
	return x.counter(index)
}

func (c counter) increment() error {
	_, err := tpm2.NVIncrement{
		AuthHandle: c.handle,
		NVIndex:    tpm2.NamedHandle{Handle: c.handle.Handle, Name: c.handle.Name},
	}.Execute(c.x)
	return err
}

func (c counter) value() (uint64, error) {
	read, err := tpm2.NVRead{
		AuthHandle: c.handle,
		NVIndex:    tpm2.NamedHandle{Handle: c.handle.Handle, Name: c.handle.Name},
		Size:       counterSize,
	}.Execute(c.x)
	if err != nil {
		return 0, err
	}
	if len(read.Data.Buffer) != counterSize {
		return 0, errResponse
	}
	return binary.BigEndian.Uint64(read.Data.Buffer), nil
}
