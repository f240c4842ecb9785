package hubtest

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"
)

// SetIssuer gives the hub the issuer whose certificates let devices in, and that renews them over
// the hub's topics. Nil: none. A DPS simulator gives its own to each hub that is linked to it.
func (h *Hub) SetIssuer(i *Issuer) {
	h.mu.Lock()
	defer h.mu.Unlock()
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
	r.CredentialID = newCredentialID()
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

func validAt(cert *x509.Certificate, now time.Time) string {
	if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
		return "client certificate is not valid at this time"
	}
	return ""
}

// newCredentialID makes what binds certificates to an identity.
func newCredentialID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
