// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
)

// TPM is a TPM 2.0 and the way to it. The zero value is the machine's own, /dev/tpmrm0. It is
// opened at the first use, and again at the next one after the way to it failed.
//
// Its users share it: several of one process at once are safe, as each operation has the TPM to
// itself, and one whose context ends gives its place up. An operation is several commands; one that
// has begun is not interrupted, since that leaves keys in the TPM's few places: the caller gets the
// cause of the context at once, and what was begun is put in order behind it. Fields must not be
// changed once it is in use. It must not be copied.
//
// It keeps nothing in the TPM between two operations but what its users asked to be persistent.
type TPM struct {
	// Address is where the TPM is:
	//
	//   - "" or a path: a device file, by default /dev/tpmrm0, the one of the kernel's resource
	//     manager. It keeps the keys of processes apart; /dev/tpm0 does not, and has one user.
	//   - "unix:PATH" or "tcp:HOST:PORT": a socket that takes bare commands, as those of swtpm do
	//     (swtpm socket --server …). Start it with --flags not-need-init.
	//   - "mssim:HOST:PORT": the protocol of Microsoft's TPM simulator, whose platform is at the
	//     port after that one.
	Address string

	// Transport is used in place of Address if it is not nil, and is never closed.
	// transport.FromReadWriteCloser makes one of any io.ReadWriteCloser.
	Transport transport.TPM

	// OwnerAuth and EndorsementAuth are the passwords of the two hierarchies; most TPMs have none.
	OwnerAuth, EndorsementAuth []byte

	prepare sync.Once
	turn    chan struct{} // has one element while nobody uses the TPM
	conn    connection    // of Address; nil while there is none
	saved   map[string]saved
}

// machine is the machine's own TPM, for those who name none.
var machine TPM

func or(t *TPM) *TPM {
	if t == nil {
		return &machine
	}
	return t
}

// run does something with the TPM, in the order of arrival and one at a time. After the end of ctx
// it returns at once, and what has begun ends by itself: see exchange.Send.
func run[T any](ctx context.Context, t *TPM, op string, do func(*exchange) (T, error)) (T, error) {
	t.prepare.Do(func() {
		t.turn = make(chan struct{}, 1)
		t.turn <- struct{}{}
		t.saved = map[string]saved{}
	})
	var none T
	if ctx.Err() != nil {
		return none, context.Cause(ctx)
	}
	select {
	case <-t.turn:
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { t.turn <- struct{}{} }()
		var o outcome
		if o.err = t.connect(ctx); o.err == nil {
			o.value, o.err = do(&exchange{ctx: ctx, tpm: t})
		}
		done <- o
	}()
	select {
	case o := <-done:
		if o.err == nil || errors.Is(o.err, context.Cause(ctx)) {
			return o.value, o.err
		}
		return o.value, t.explain(op, o.err)
	case <-ctx.Done():
		return none, context.Cause(ctx)
	}
}

// Close closes the way to the TPM. Whoever uses it after that opens it again.
func (t *TPM) Close() error {
	_, err := run(context.Background(), t, "close", func(*exchange) (struct{}, error) {
		return struct{}{}, t.disconnect()
	})
	return err
}

// owner and endorser authorize what is done with a hierarchy.
func (t *TPM) owner() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(t.OwnerAuth)}
}

func (t *TPM) endorser() tpm2.AuthHandle {
	return tpm2.AuthHandle{
		Handle: tpm2.TPMRHEndorsement, Auth: tpm2.PasswordAuth(t.EndorsementAuth),
	}
}

// String names the TPM, and no password.
func (t *TPM) String() string { return "TPM at " + t.place() }

// GoString is String.
func (t *TPM) GoString() string { return t.String() }

// Format writes String for every verb: without it %+v would print the passwords.
func (t *TPM) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String.
func (t *TPM) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON writes the address alone.
func (t *TPM) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ Address string }{t.Address})
}
