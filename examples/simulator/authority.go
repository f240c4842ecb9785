// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// authority returns the CA kept in a directory, which is made if need be, and the file with its
// certificate.
func authority(dir string) (*simnet.CA, string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	// the ready line is read by programs that run elsewhere
	certFile, err := filepath.Abs(filepath.Join(dir, caFile))
	if err != nil {
		return nil, "", err
	}
	keyFile := filepath.Join(filepath.Dir(certFile), caKeyFile)
	cert, certErr := os.ReadFile(certFile)
	key, keyErr := os.ReadFile(keyFile)
	switch {
	case certErr == nil && keyErr == nil:
		ca, err := simnet.LoadCA(cert, key, time.Now())
		if err != nil {
			return nil, "", fmt.Errorf(
				"%s and %s: are not a CA and its key (%w): remove both for a new one", certFile,
				keyFile, err,
			)
		}
		if now := time.Now(); now.After(ca.Certificate().NotAfter) ||
			now.Before(ca.Certificate().NotBefore) {
			return nil, "", fmt.Errorf(
				"%s: is not valid at this time: remove it and %s for a new one", certFile, keyFile,
			)
		}
		return ca, certFile, nil
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
	case errors.Is(certErr, fs.ErrNotExist) || errors.Is(keyErr, fs.ErrNotExist):
		// Devices may trust the one that is there: to replace it is for people to decide.
		return nil, "", fmt.Errorf(
			"%s: has only one of %s and %s: restore the other, or remove it for a new CA", dir,
			caFile, caKeyFile,
		)
	default:
		return nil, "", errors.Join(certErr, keyErr)
	}

	ca := simnet.NewCA("Simulated Root", time.Now())
	key, err = ca.KeyPEM()
	if err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, "", err
	}
	if err := os.WriteFile(certFile, ca.PEM(), 0o644); err != nil {
		return nil, "", err
	}
	return ca, certFile, nil
}
