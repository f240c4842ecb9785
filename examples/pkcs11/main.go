// SPDX-License-Identifier: Apache-2.0

// Command pkcs11 is a device program whose private keys are in a PKCS #11 token: an HSM, a secure
// element or, for a try, SoftHSM. DPS issues it a certificate for a key that is made in the token;
// with that it connects to its hub by mutual TLS, and renews it with another key. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. The exit status is 2 for a wrong flag, 1 for what went wrong later.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "pkcs11:", err)
		return 2
	}
	token := s.hsm()
	switch {
	case s.list:
		err = s.printKeys(ctx, token, stdout)
	case s.csr:
		err = s.printCSR(ctx, token, stdout)
	default:
		err = s.drive(ctx, token, stdout, stderr)
	}
	if ended := token.Close(); err == nil {
		err = ended
	}
	if err != nil {
		fmt.Fprintln(stderr, "pkcs11:", err)
		return 1
	}
	return 0
}
