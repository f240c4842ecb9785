// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/x509"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
	"github.com/rehome-iot/rehome/internal/sas"
)

// authenticate decides whether a CONNECT gets in. It returns why not; the device learns no more
// than return code 5: the service gives it for every refusal, and it cannot be told which. h.mu is
// held.
func (h *Hub) authenticate(
	c *mqttserver.Connect, cert *x509.Certificate, now time.Time,
) (expiry time.Time, refusal string) {
	name, ok := parseUsername(c.Username, c.ClientID)
	switch {
	case !ok:
		return expiry, "user name is not {hub}/{client ID}/?api-version=…"
	case !strings.EqualFold(name.host, h.host):
		return expiry, "user name is for another hub"
	case !name.versionOK():
		return expiry, "api-version is not a date"
	}
	device, refusal := h.known(c.ClientID)
	switch {
	case refusal != "":
		return expiry, refusal
	case len(c.Password) > 0:
		return h.checkToken(device, string(c.Password), now)
	}
	return expiry, h.checkCertificate(device, cert, now)
}

// known returns the record of a device or module that may come in, or why it may not; h.mu is held.
func (h *Hub) known(id string) (r *record, refusal string) {
	parent, module := splitID(id)
	r, device := h.devices[id], h.devices[parent]
	switch {
	case device == nil:
		return nil, "no such device"
	case device.Disabled:
		return nil, "device is disabled"
	case r == nil:
		return nil, "no such module: " + module
	}
	return r, ""
}

// checkCertificate checks a client certificate against a device's thumbprints, or, for a device
// that certificates are issued to, as one of those; h.mu is held.
func (h *Hub) checkCertificate(
	device *record, cert *x509.Certificate, now time.Time,
) (refusal string) {
	switch {
	case cert == nil:
		return "neither token nor client certificate"
	case device.accepts(cert):
		return validAt(cert, now)
	case device.CertificatePolicy != "":
		return h.acceptsIssued(device, cert, now)
	}
	return "thumbprint does not match"
}

// checkToken checks a token against a device's keys or, if it names a policy, against that. Azure
// docs: "Control access to IoT Hub with shared access signatures".
func (h *Hub) checkToken(
	device *record, token string, now time.Time,
) (expiry time.Time, refusal string) {
	signature, err := sas.Parse(token)
	if err != nil {
		return expiry, err.Error()
	}
	keys := device.keys()
	if policy := signature.KeyName; policy != "" {
		has, ok := rights[policy]
		switch {
		case !ok:
			return expiry, "no such policy"
		case has&deviceConnect == 0:
			return expiry, "authorization rule " + policy + " does not allow access for devices"
		}
		keys = decodeKeys(h.policies.key(policy))
	}
	if !h.covers(signature.Resource, device.ID) {
		return expiry, "token is for another resource"
	}
	signed := false
	for _, key := range keys {
		signed = signature.Verify(key) || signed
	}
	switch {
	case !signed:
		return expiry, "token is signed with another key"
	case now.After(signature.Expiry.Add(h.grace)):
		return expiry, "token has expired"
	}
	return signature.Expiry, ""
}

// covers reports whether a token's resource is a prefix, by whole segments, of
// "{hub}/devices/{device ID}", or of "{hub}/devices/{device ID}/modules/{module ID}" for a module:
// the hub's host alone is one. Only the host is compared without case.
func (h *Hub) covers(resource, id string) bool {
	host, path, _ := strings.Cut(resource, "/")
	want := "devices/" + id + "/"
	if device, module := splitID(id); module != "" {
		want = "devices/" + device + "/modules/" + module + "/"
	}
	if path = strings.TrimSuffix(path, "/"); path != "" {
		path += "/"
	}
	return strings.EqualFold(host, h.host) && strings.HasPrefix(want, path)
}

// username is a CONNECT's user name parsed.
type username struct {
	host  string
	query url.Values // api-version, DeviceClientType, model-id …
}

// parseUsername parses "{hub}/{client ID}/?api-version=…", and the older forms without the question
// mark and without anything after the client ID. Neither host nor client ID is escaped, so the
// client ID is needed to tell where it ends.
func parseUsername(name, clientID string) (username, bool) {
	host, rest, ok := strings.Cut(name, "/")
	if !ok || host == "" || clientID == "" {
		return username{}, false
	}
	rest, ok = strings.CutPrefix(rest, clientID)
	if !ok {
		return username{}, false
	}
	query, ok := strings.CutPrefix(rest, "/")
	if !ok {
		return username{host: host, query: url.Values{}}, rest == ""
	}
	values, err := url.ParseQuery(strings.TrimPrefix(query, "?"))
	if err != nil {
		return username{}, false
	}
	return username{host: host, query: values}, true
}

var apiVersion = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}(-preview)?$`)

// versionOK reports whether the API version is one; a user name without any is an old client's.
func (u username) versionOK() bool {
	return !u.query.Has("api-version") || apiVersion.MatchString(u.query.Get("api-version"))
}
