// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	filesInterval = 30 * time.Second
	maxFile       = 256 << 10 // of a certificate chain or a key
)

// X509Files attests with a certificate chain and its private key in two PEM files, which are read
// again when they change: an agent renews them, or a mount is exchanged (credentials of systemd,
// secrets of Kubernetes). They may be one file.
//
//	device.Attestation = &dps.X509Files{
//		CertificateFile: "/run/identity/device.pem", KeyFile: "/run/identity/device.key",
//	}
//
// Only a pair that is whole comes into force. While the files are half written, do not belong
// together, are missing, or carry another name, the former pair stays in force and Problem tells
// what is wrong; without a former pair every method returns that error.
//
// Its methods may be called from several goroutines at once, as long as nobody changes its fields.
// It is used by pointer and must not be copied after its first use. It prints, logs and marshals
// without its key.
type X509Files struct {
	// ID is the registration ID. Empty: the common name of the first pair that is read. Each
	// certificate has to have it as its common name, letter case aside.
	ID string

	// CertificateFile holds the chain, leaf first, as [X509].KeyPair has it.
	CertificateFile string

	// KeyFile holds the leaf's private key, unencrypted: PKCS #8, SEC 1 or PKCS #1. Others than its
	// owner and group must have no access to it (mode 0640 at most; not checked on Windows), so
	// that secrets of Kubernetes need a defaultMode.
	KeyFile string

	// Interval is how often the files are looked at while somebody waits for a change. Zero: 30 s.
	// [X509Files.Current] looks at them each time.
	Interval time.Duration

	reading sync.Mutex // held while the files are read, which may take its time
	mu      sync.Mutex
	state   *filesState // behind a pointer, so that nothing prints it
}

// filesState is what was read.
type filesState struct {
	_ [0]func() // never compared, which saves code in a device's program

	pair     *X509         // nil: none yet
	problem  error         // of the last time that the files were read
	changed  chan struct{} // nil: nobody has asked
	watching bool          // a timer runs
}

var _ Source = (*X509Files)(nil)

// Current reads the files and returns the pair in force as an [X509]. An error means that there has
// not been any pair yet; a later problem is told by Problem.
func (f *X509Files) Current(ctx context.Context) (Attestation, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f.read()
	pair, err := f.inForce()
	if err != nil {
		return nil, err
	}
	return pair, nil
}

// Changed returns a channel that is closed once another pair is in force. The files are looked at
// each Interval from then on, until they have changed. No goroutine waits in between.
func (f *X509Files) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.known()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	if !s.watching {
		s.watching = true
		time.AfterFunc(f.interval(), f.watch)
	}
	return s.changed
}

// Problem returns what was wrong with the files when they were last read; nil if nothing was.
func (f *X509Files) Problem() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known().problem
}

func (f *X509Files) watch() {
	f.read()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.known()
	if s.watching = s.changed != nil; s.watching {
		time.AfterFunc(f.interval(), f.watch)
	}
}

func (f *X509Files) interval() time.Duration {
	if f.Interval <= 0 {
		return filesInterval
	}
	return f.Interval
}

// known is the state; the caller holds the lock.
func (f *X509Files) known() *filesState {
	if f.state == nil {
		f.state = &filesState{}
	}
	return f.state
}

// inForce is the pair in force, read if there was none yet.
func (f *X509Files) inForce() (X509, error) {
	for read := false; ; read = true {
		f.mu.Lock()
		pair, problem := f.known().pair, f.known().problem
		f.mu.Unlock()
		switch {
		case pair != nil:
			return *pair, nil
		case read:
			return X509{}, problem
		}
		f.read()
	}
}

// read brings the pair in the files into force, if it is whole and another one.
func (f *X509Files) read() {
	f.reading.Lock()
	defer f.reading.Unlock()
	pair, err := f.load()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.known()
	if err == nil && s.pair != nil {
		// Who the device is does not change, and the letter case neither.
		was := s.pair.ID
		if now := pair.RegistrationID(); !strings.EqualFold(was, now) {
			err = invalid(fmt.Errorf(
				"x509 files: %s is of %q now, it was of %q: give the device its own certificate",
				f.CertificateFile, now, was,
			))
		}
		pair.ID = was
	}
	s.problem = err
	if err != nil || s.pair != nil && slices.EqualFunc(
		s.pair.KeyPair.Certificate, pair.KeyPair.Certificate, bytes.Equal,
	) {
		return
	}
	s.pair = &pair
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// load reads a pair and checks it.
func (f *X509Files) load() (X509, error) {
	if f.Interval < 0 {
		return X509{}, invalid(fmt.Errorf("x509 files: interval %v is negative", f.Interval))
	}
	chain, err := readFile("certificate file", f.CertificateFile, false)
	if err != nil {
		return X509{}, invalid(err)
	}
	key, err := readFile("key file", f.KeyFile, true)
	if err != nil {
		return X509{}, invalid(err)
	}
	if bytes.Count(chain, []byte("-----BEGIN ")) != bytes.Count(chain, []byte("-----END ")) {
		return X509{}, invalid(fmt.Errorf(
			"x509 files: certificate file %s is cut short: write a temporary file and rename it",
			f.CertificateFile,
		))
	}
	begins := func(data []byte, kind string) bool {
		return bytes.Contains(data, []byte("-----BEGIN ")) &&
			bytes.Contains(data, []byte(kind+"-----"))
	}
	switch certificate := begins(chain, "CERTIFICATE"); {
	case !certificate && begins(chain, "KEY") && begins(key, "CERTIFICATE"):
		return X509{}, invalid(fmt.Errorf(
			"x509 files: certificate file %s and key file %s are swapped", f.CertificateFile,
			f.KeyFile,
		))
	case !certificate:
		return X509{}, invalid(fmt.Errorf(
			"x509 files: certificate file %s has no certificate: it must be pem, leaf first",
			f.CertificateFile,
		))
	case !begins(key, "KEY"):
		return X509{}, invalid(fmt.Errorf(
			"x509 files: key file %s has no private key: it must be pem", f.KeyFile,
		))
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return X509{}, invalid(fmt.Errorf(
			"x509 files: key file %s is encrypted: write it without a passphrase", f.KeyFile,
		))
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return X509{}, invalid(fmt.Errorf(
			"x509 files: %s and %s are no certificate and its key: %w", f.CertificateFile,
			f.KeyFile, err,
		))
	}
	x := X509{ID: f.ID, KeyPair: pair}
	if err := x.Validate(); err != nil {
		return X509{}, err
	}
	x.ID = x.RegistrationID()
	return x, nil
}

// readFile reads a file that is small, and private if it has to be.
func readFile(field, name string, private bool) ([]byte, error) {
	if name == "" {
		return nil, fmt.Errorf("x509 files: %s is empty: set it to the name of a pem file", field)
	}
	fail := func(problem string) ([]byte, error) {
		return nil, fmt.Errorf("x509 files: %s %s %s", field, name, problem)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("x509 files: %s cannot be read: %w", field, err)
	}
	if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return fail("is not a file")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("x509 files: %s cannot be read: %w", field, err)
	}
	defer func() { _ = file.Close() }()
	if info, err = file.Stat(); err == nil && private && openToOthers(info.Mode()) {
		return fail(fmt.Sprintf(
			"has mode %#o and is open to everybody: chmod 600 it", info.Mode().Perm(),
		))
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("x509 files: %s cannot be read: %w", field, err)
	case len(data) > maxFile:
		return fail(fmt.Sprintf("is longer than %d bytes", maxFile))
	}
	return data, nil
}

// openToOthers: the modes of Windows say nothing of who has access.
func openToOthers(mode fs.FileMode) bool { return runtime.GOOS != "windows" && mode&0o007 != 0 }
