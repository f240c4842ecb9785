// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto/tls"
	"time"
)

// CertificateKind is what is wrong with the certificate a host shows. In JSON it is its text.
type CertificateKind int

const (
	// Valid is a certificate that verifies.
	Valid CertificateKind = iota
	// Expired is one that ended an hour ago, by the services' clock.
	Expired
	// NotYetValid is one that begins tomorrow, by the services' clock.
	NotYetValid
	// UnknownCA is one signed by a CA that nobody trusts.
	UnknownCA
	// WrongName is one for another host.
	WrongName
)

var certificateNames = []string{"valid", "expired", "notYetValid", "unknownCA", "wrongName"}

// String returns the kind's text: the constant's name with a lower-case first letter, as
// "notYetValid". A value that is no kind gives "unknown kind".
func (k CertificateKind) String() string {
	if k < 0 || int(k) >= len(certificateNames) {
		return "unknown kind"
	}
	return certificateNames[k]
}

// MarshalText returns the text that String does. A value that is no kind is an error.
func (k CertificateKind) MarshalText() ([]byte, error) { return textOf(certificateNames, int(k)) }

// UnmarshalText reads what MarshalText wrote; an empty text is Valid. An unknown text is an error
// that lists the known ones.
func (k *CertificateKind) UnmarshalText(text []byte) error {
	i, err := indexOf(certificateNames, text)
	if err == nil {
		*k = CertificateKind(i)
	}
	return err
}

type certKey struct {
	name string
	kind CertificateKind
}

// maxUnknownNames bounds the certificates made for names that only a client knows.
const maxUnknownNames = 64

// certificate returns the certificate to show to a client that asked for serverName and is served
// by target; n.mu is held. It is made at first use.
func (n *Network) certificate(target, serverName string, p protocol) *tls.Certificate {
	names := []string{target}
	key := certKey{target, n.host(target).certificateKind(p)}
	if target == n.fallback {
		names = append(names, "localhost", "127.0.0.1", "::1")
		if serverName != "" && serverName != target && serverName != "localhost" {
			key.name = serverName
			if n.certs[key] == nil && n.unknownNames >= maxUnknownNames {
				key.name = target
			} else {
				names = append(names, serverName)
			}
		}
	}
	if c := n.certs[key]; c != nil {
		return c
	}
	if key.name != target {
		n.unknownNames++
	}
	now := time.Now().Add(n.offset)
	from, to := now.Add(-backdated), now.Add(leafLife)
	ca := n.ca
	switch key.kind {
	case Expired:
		from, to = now.Add(-leafLife), now.Add(-time.Hour)
	case NotYetValid:
		from = now.Add(24 * time.Hour)
	case UnknownCA:
		if n.unknownCA == nil {
			n.unknownCA = NewCA("Unknown Root", now)
		}
		ca = n.unknownCA
	case WrongName:
		names = []string{"another-host.invalid"}
	}
	c := ca.serverBetween(from, to, names...)
	n.certs[key] = &c
	return &c
}
