// SPDX-License-Identifier: Apache-2.0

package simdial

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// Variable is the environment variable that [FromEnv] reads.
const Variable = "REHOME_SIMULATOR"

// Simulator leads a program's connections to a simulator. The zero value leads nowhere else: its
// fields are nil, which is what the fields of a Device, a Client or a Dialer are for Azure.
type Simulator struct {
	// DialContext opens connections to the simulator in place of the host that is asked for, if
	// they are for port 443 or 8883; others go where they are for. It is safe for concurrent use.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig trusts the simulator's authority, and no other.
	TLSConfig *tls.Config
}

// FromEnv returns the simulator that the variable REHOME_SIMULATOR names, and the zero Simulator if
// it is empty or not set: the program then uses Azure. The variable holds the line of JSON that the
// simulator prints when it is ready, or the part of it that it prints for this variable, or the
// name of a file that begins with such a line.
//
// The error is one line, which names the variable and what to do.
func FromEnv() (Simulator, error) {
	value := strings.TrimSpace(os.Getenv(Variable))
	if value == "" {
		return Simulator{}, nil
	}
	line := []byte(value)
	if value[0] != '{' {
		var err error
		if line, err = os.ReadFile(value); err != nil {
			err = fmt.Errorf("%w: name a file with the simulator's ready line", err)
			return Simulator{}, fail(err)
		}
	}
	s, err := Parse(line)
	if err != nil {
		return Simulator{}, fail(err)
	}
	return s, nil
}

const copyIt = "copy what the simulator prints"

func fail(err error) error {
	return fmt.Errorf("simdial: %s: %w, or unset it to use azure", Variable, err)
}

// Parse reads the simulator's ready line: where it listens (https, mqtt) and the PEM file of its
// authority (ca). What follows the line, and its other members, are not read.
func Parse(line []byte) (Simulator, error) {
	var ready struct{ HTTPS, MQTT, CA string }
	if err := json.NewDecoder(bytes.NewReader(line)).Decode(&ready); err != nil {
		// The text may hold the keys of a ready line.
		return Simulator{}, errors.New("it is not the simulator's ready line, which is json: " +
			copyIt)
	}
	to := map[string]string{}
	for _, l := range []struct{ member, port, address string }{
		{"https", "443", ready.HTTPS}, {"mqtt", "8883", ready.MQTT},
	} {
		address, ok := reachable(l.address)
		if !ok {
			return Simulator{}, fmt.Errorf("its member %q is not host:port: %s", l.member, copyIt)
		}
		to[l.port] = address
	}
	pem, err := os.ReadFile(ready.CA)
	if err != nil {
		return Simulator{}, fmt.Errorf(
			"its authority: %w: start the simulator, and copy what it prints now", err,
		)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return Simulator{}, fmt.Errorf(
			"its authority: %s has no certificate: it must be pem", ready.CA,
		)
	}
	return Simulator{
		TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if _, port, err := net.SplitHostPort(address); err == nil && to[port] != "" {
				address = to[port]
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
	}, nil
}

// reachable is the address of a listener as a program on this machine dials it.
func reachable(listener string) (address string, ok bool) {
	host, port, err := net.SplitHostPort(listener)
	if err != nil || port == "" || port == "0" {
		return "", false
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port), true
}
