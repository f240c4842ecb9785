// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"
)

// certificateKind is what is wrong with a server's certificate, or with what is above it.
type certificateKind struct {
	name  string
	says  string // what the error says of it
	spoil func(*draft)
	fine  bool // nothing is: it is to be accepted
	dates bool // nothing is but dates
}

var certificateKinds = []certificateKind{
	{name: "expired", says: "is after", dates: true, spoil: func(d *draft) {
		d.leaf.NotAfter = time.Now().Add(-time.Hour)
	}},
	{name: "not valid yet", says: "is before", dates: true, spoil: func(d *draft) {
		d.leaf.NotBefore = time.Now().Add(time.Hour)
	}},
	{name: "self-signed", says: "unknown authority", spoil: func(d *draft) {
		d.selfSigned = true
		d.sent = func(s *draftSent) { s.chain = nil }
	}},
	{name: "of a root that is not trusted", says: "unknown authority", spoil: func(d *draft) {
		d.unknown = true
	}},
	{name: "for another name", says: "certificate is valid for x", spoil: func(d *draft) {
		d.leaf.DNSNames = []string{"x" + d.host}
	}},
	{name: "name as common name alone", says: "legacy Common Name", spoil: func(d *draft) {
		d.leaf.DNSNames, d.leaf.Subject.CommonName = nil, d.host
	}},
	{name: "wildcard for two levels", says: "valid for *.net", spoil: func(d *draft) {
		d.leaf.DNSNames = []string{"*.net"}
	}},
	{name: "for clients alone", says: "incompatible key usage", spoil: func(d *draft) {
		d.leaf.ExtKeyUsage = clients
	}},
	{name: "critical extension unknown", says: "unhandled critical", spoil: func(d *draft) {
		d.leaf.ExtraExtensions = []pkix.Extension{{
			Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true,
			Value: asn1.NullBytes,
		}}
	}},
	{name: "signature of SHA-1", says: "insecure algorithm ECDSA-SHA1", spoil: func(d *draft) {
		d.signature = x509.ECDSAWithSHA1
	}},
	{name: "signature broken", says: "ECDSA verification failure", spoil: func(d *draft) {
		d.broken = true
	}},
	{name: "RSA 1024", says: "RSA key of 1024 bits", spoil: func(d *draft) { d.bits.leaf = 1024 }},
	{name: "intermediate not sent", says: "unknown authority", spoil: func(d *draft) {
		d.sent = func(s *draftSent) { s.chain = nil }
	}},
	{name: "intermediate expired", says: "is after", dates: true, spoil: func(d *draft) {
		d.middle.NotAfter = time.Now().Add(-time.Hour)
	}},
	{name: "intermediate no authority", says: "cannot sign this kind", spoil: func(d *draft) {
		d.middle.IsCA = false
	}},
	{name: "intermediate not for signing", says: "cannot sign this kind", spoil: func(d *draft) {
		d.middle.KeyUsage = x509.KeyUsageDigitalSignature
	}},
	{name: "intermediate for clients alone", says: "incompatible key usage", spoil: func(d *draft) {
		d.middle.ExtKeyUsage = clients
	}},
	{name: "intermediate for other names", says: "not permitted by", spoil: func(d *draft) {
		d.middle.PermittedDNSDomainsCritical = true
		d.middle.PermittedDNSDomains = []string{"example.com"}
	}},
	{name: "intermediate RSA 1024", says: "RSA key of 1024 bits", spoil: func(d *draft) {
		d.bits.middle = 1024
	}},
	{name: "one authority too many", says: "too many intermediates", spoil: func(d *draft) {
		d.root.MaxPathLenZero = true
	}},
	{name: "root RSA 1024", says: "RSA key of 1024 bits", spoil: func(d *draft) {
		d.bits.root = 1024
	}},

	// RFC 5280 does not keep an authority from being a server, nor RFC 8446 §4.4.2 a server from
	// sending more than it should in any order.
	{name: "is an authority itself", fine: true, spoil: func(d *draft) {
		d.leaf.IsCA, d.leaf.BasicConstraintsValid = true, true
	}},
	{name: "sent in disorder, with its root", fine: true, spoil: func(d *draft) {
		d.sent = func(s *draftSent) { s.chain = append(s.root, s.middle...) }
	}},
	// What is good shows that this looks in the right way.
	{name: "RSA 2048", fine: true, spoil: func(d *draft) { d.bits.leaf = 2048 }},
	{name: "good", fine: true, spoil: func(*draft) {}},
}

var clients = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
