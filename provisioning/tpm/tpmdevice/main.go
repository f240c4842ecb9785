// SPDX-License-Identifier: Apache-2.0

// Command tpmdevice is a device with a TPM, the shortest there is: with -keys it prints what an
// operator enrolls, and without it connects, sends one message and ends. It registers where it has
// to.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/tpm"
)

func main() {
	address := flag.String("tpm", "", "`address` of the TPM; empty: /dev/tpmrm0")
	scope := flag.String("scope", "", "ID scope of DPS")
	dir := flag.String("store", "", "`directory` of what the device remembers")
	roots := flag.String("roots", "", "PEM `file` of the roots to trust; empty: those of Azure")
	body := flag.String("send", "hello", "body of the message")
	keys := flag.Bool("keys", false, "print the TPM's public keys and the registration ID, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	device := &tpm.TPM{Address: *address}
	identity := &tpm.Attestation{TPM: device, Store: cache.Dir(*dir)}
	var err error
	if *keys {
		err = printKeys(ctx, identity)
	} else {
		err = send(ctx, identity, *scope, cache.Dir(*dir), *roots, *body)
	}
	if err = errors.Join(err, device.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "tpmdevice:", err)
		os.Exit(1)
	}
}

func printKeys(ctx context.Context, identity *tpm.Attestation) error {
	endorsement, root, err := identity.PublicKeys(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"endorsementKey": base64.StdEncoding.EncodeToString(endorsement),
		"storageRootKey": base64.StdEncoding.EncodeToString(root),
		"registrationId": identity.RegistrationID(),
	})
}

var errSent = errors.New("sent")

func send(
	ctx context.Context, identity *tpm.Attestation, scope string, store cache.Store,
	roots, body string,
) error {
	dev := &provisioning.Device{
		IDScope: scope, Attestation: identity, Store: store,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	if roots != "" {
		pem, err := os.ReadFile(roots)
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("%s has no certificate in PEM", roots)
		}
		dev.TLSConfig = &tls.Config{RootCAs: pool}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte(body)}); err != nil {
			return err
		}
		cancel(errSent)
		return json.NewEncoder(os.Stdout).Encode(map[string]string{
			"hub": hub.Hub().Host, "deviceId": hub.Hub().DeviceID,
		})
	})
	if errors.Is(err, errSent) {
		err = nil
	}
	return err
}
