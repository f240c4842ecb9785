// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/x509"
	"time"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// SetIssuer gives the hub the issuer whose certificates let devices in, and that renews them over
// the hub's topics. Nil: none. A DPS simulator gives its own to each hub that is linked to it.
func (h *Hub) SetIssuer(i *Issuer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i == h.issuer {
		return // a hub that is linked once more knows no more than before
	}
	h.issuer, h.trusted = i, nil
	if h.manualSync && i != nil {
		h.trusted = i.current()
	}
}

// SetCredentialSync says whether the hub keeps in step with the authorities of its issuer by
// itself, which is the default. With false it goes on trusting those that there are now, and learns
// of later ones, and of revoked ones, from SyncCredentials: at the service, an operator has to tell
// hubs ("az iot adr ns credential sync"), and a device with a certificate that its hub does not
// know is refused until then.
func (h *Hub) SetCredentialSync(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manualSync = !on
	if h.issuer != nil {
		h.trusted = h.issuer.current()
	}
}

// SyncCredentials lets the hub trust the authorities that its issuer has now, and no others.
func (h *Hub) SyncCredentials() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.issuer != nil {
		h.trusted = h.issuer.current()
	}
}

// RevokeCredentials makes every certificate worthless that was issued to a device, closes its
// connection, and reports whether there is such a device. The device stays enabled, and gets in
// again with a certificate that is issued from now on: when it registers at DPS.
func (h *Hub) RevokeCredentials(id string) bool {
	h.mu.Lock()
	r, ok := h.devices[id]
	if _, module := splitID(id); !ok || module != "" {
		h.mu.Unlock()
		return false
	}
	r.CredentialID = uuid.New()
	r.issue = nil
	h.mu.Unlock()
	h.Disconnect(id)
	return true
}

// acceptsIssued says why a certificate by an issuer does not let a device in, "" if it does. The
// revocation list is not consulted, as at the service; h.mu is held.
func (h *Hub) acceptsIssued(device *record, cert *x509.Certificate, now time.Time) string {
	if h.issuer == nil {
		return "the hub has no issuer of certificates"
	}
	trusted := h.trusted
	if !h.manualSync {
		trusted = h.issuer.current()
	}
	issued := false
	for _, ca := range trusted {
		issued = issued || cert.CheckSignatureFrom(ca) == nil
	}
	if !issued {
		return "client certificate is of an authority that the hub does not trust"
	}
	for _, uri := range cert.URIs {
		if uri.String() == credentialURI(device.CredentialID).String() {
			return validAt(cert, now)
		}
	}
	return "client certificate was revoked, or is another device's"
}

// trustedRaw is what the hub trusts for a state; h.mu is held.
func (h *Hub) trustedRaw() [][]byte {
	if !h.manualSync {
		return nil
	}
	raw := [][]byte{}
	for _, ca := range h.trusted {
		raw = append(raw, ca.Raw)
	}
	return raw
}

func parseAuthorities(raw [][]byte) ([]*x509.Certificate, error) {
	if raw == nil {
		return nil, nil
	}
	all := []*x509.Certificate{}
	for _, der := range raw {
		ca, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		all = append(all, ca)
	}
	return all, nil
}

// restoreTrust lets the hub trust what it trusted when its state was saved. Nil is a state of a hub
// that was in step with its issuer, and so it begins with what that has; h.mu is held.
func (h *Hub) restoreTrust(trusted []*x509.Certificate) {
	switch {
	case !h.manualSync:
	case trusted != nil:
		h.trusted = trusted
	case h.issuer != nil:
		h.trusted = h.issuer.current()
	}
}

func validAt(cert *x509.Certificate, now time.Time) string {
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return "client certificate is not valid at this time"
	}
	return ""
}
