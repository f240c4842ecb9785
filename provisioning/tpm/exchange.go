// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

const headerSize = 10 // of a command and of a response: tag, size, code

// How often a command is sent again that the TPM asks to be sent again, and how long after: from
// 10 ms to 1 s, 6 s in all. Linux waits for 2 s.
const (
	tries     = 12
	firstWait = 10 * time.Millisecond
	longWait  = time.Second
)

// exchange is the TPM in the hands of one operation. It is a transport.TPM.
type exchange struct {
	ctx context.Context
	tpm *TPM
}

// Send sends a command, and again while the TPM is busy. It sends no more once the operation's
// context has ended, but for what frees the TPM of the operation's keys and sessions.
func (x *exchange) Send(command []byte) ([]byte, error) {
	var way transport.TPM = x.tpm.conn
	if x.tpm.Transport != nil {
		way = x.tpm.Transport
	}
	cleaning := isCommand(command, tpm2.TPMCCFlushContext)
	wait := firstWait
	for try := 1; ; try++ {
		if !cleaning && x.ctx.Err() != nil {
			return nil, context.Cause(x.ctx)
		}
		if x.tpm.Transport == nil && x.tpm.conn == nil {
			return nil, errGone // lost by an earlier command of the same operation
		}
		response, err := way.Send(command)
		if err == nil && len(response) < headerSize {
			err = errResponse
		}
		if err != nil {
			_ = x.tpm.disconnect() // the next operation opens it anew
			return nil, err
		}
		switch code := tpm2.TPMRC(binary.BigEndian.Uint32(response[6:])); {
		case try == tries:
			return response, nil
		case code == tpm2.TPMRCInitialize && !isCommand(command, tpm2.TPMCCStartup):
			// Firmware starts a TPM; where there is none, as with one in software, nobody has.
			if _, err := (tpm2.Startup{StartupType: tpm2.TPMSUClear}).Execute(x); err != nil {
				return nil, err
			}
			continue
		case code == tpm2.TPMRCRetry, code == tpm2.TPMRCYielded, code == tpm2.TPMRCTesting,
			code == tpm2.TPMRCNVRate:
		default:
			return response, nil
		}
		time.Sleep(wait)
		wait = min(2*wait, longWait)
	}
}

func isCommand(command []byte, code tpm2.TPMCC) bool {
	return len(command) >= headerSize && tpm2.TPMCC(binary.BigEndian.Uint32(command[6:])) == code
}

// object is one that is loaded in the TPM.
type object struct {
	handle     tpm2.TPMHandle
	name       tpm2.TPM2BName
	public     []byte // TPM2B_PUBLIC
	persistent bool
}

// use authorizes the use of an object, whose password is empty.
func (o object) use() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: o.handle, Name: o.name, Auth: tpm2.PasswordAuth(nil)}
}

// release frees the object's place in the TPM. An error would change nothing: the TPM is out of
// reach, or the object gone.
func (x *exchange) release(o object) {
	if !o.persistent {
		_, _ = tpm2.FlushContext{FlushHandle: o.handle}.Execute(x)
	}
}
