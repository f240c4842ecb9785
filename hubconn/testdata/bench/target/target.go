// SPDX-License-Identifier: Apache-2.0

// Package target is what the programs of this directory connect to, as the benchmark that starts
// them says in their environment. They are programs as devices have them, without test code: what a
// process needs is measured on them.
package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
)

// What the benchmark and the programs agree on.
const (
	Host     = "contoso.azure-devices.net"
	DeviceID = "sensor-042"
	Username = Host + "/" + DeviceID + "/?api-version=2021-04-12&DeviceClientType=rehome-go"
	Key      = "Y2FuYXJ5LTAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg="
	IDScope  = "0ne00ABCDEF"

	// Names of environment variables.
	Addr   = "BENCH_ADDR"   // of the server
	Roots  = "BENCH_ROOTS"  // authorities, in PEM
	Token  = "BENCH_TOKEN"  // for a client that makes none
	Store  = "BENCH_STORE"  // directory with the assignment
	Curves = "BENCH_CURVES" // not empty: Curves12 alone
)

// Curves12 are key exchanges that hubs of TLS 1.2 speak. Without the choice the first message also
// brings a key for one that exists in TLS 1.3 alone, of 1,184 bytes.
var Curves12 = []tls.CurveID{tls.X25519, tls.CurveP256}

// TLSConfig trusts the server.
func TLSConfig() *tls.Config {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(os.Getenv(Roots)))
	config := &tls.Config{RootCAs: roots, ServerName: Host}
	if os.Getenv(Curves) != "" {
		config.CurvePreferences = Curves12
	}
	return config
}

// Dial connects to the server, whatever the address.
func Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, os.Getenv(Addr))
}

// Connected tells the benchmark, and stays connected until that ends.
func Connected() {
	fmt.Println("connected")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// Check ends the program if there is an error.
func Check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
