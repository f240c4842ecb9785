// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"errors"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// ofDevice are the options of a device, in the order of the usage text.
func (s *Settings) ofDevice() []Option {
	return []Option{
		{Name: "id-scope", Value: "SCOPE", Assign: Text(&s.IDScope),
			Usage: "ID scope of the DPS instance, such as 0ne00ABCDEF (required)"},
		{Name: "registration-id", Value: "ID", Assign: Text(&s.RegistrationID),
			Usage: "registration ID of this device (required; with -cert, the certificate's " +
				"common name by default)"},
		{Name: "key", Value: "BASE64", Secret: true, Assign: Text(&s.Key),
			Usage: "the device's symmetric key; better in the environment than on a command " +
				"line, which everybody on the machine can read"},
		{Name: "group-key", Value: "BASE64", Secret: true, Assign: Text(&s.GroupKey),
			Usage: "an enrollment group's key, to derive the device's from; for trials: who has " +
				"it can be any device of the group"},
		{Name: "cert", Value: "FILE", Assign: Text(&s.Cert),
			Usage: "the device's certificate in PEM, leaf first, followed by its chain"},
		{Name: "cert-key", Value: "FILE", Assign: Text(&s.CertKey),
			Usage: "the certificate's private key in PEM"},
		{Name: "second-key", Value: "BASE64", Secret: true, Assign: Text(&s.SecondKey),
			Usage: "the enrollment's secondary key, for when the first credential is refused; " +
				"better in the environment, as -key (default none)"},
		{Name: "second-cert", Value: "FILE", Assign: Text(&s.SecondCert),
			Usage: "a second certificate in PEM, for the same; needs -second-cert-key " +
				"(default none)"},
		{Name: "second-cert-key", Value: "FILE", Assign: Text(&s.SecondCertKey),
			Usage: "the second certificate's private key in PEM"},
		{Name: "csr", Assign: Toggle(&s.CSR),
			Usage: "have DPS issue the certificate that the hub is shown, and renew it; the " +
				"enrollment needs a certificate policy"},
		{Name: "module", Value: "ID", Assign: Text(&s.Module),
			Usage: "module ID of this device at the hub, to connect as too; needs -module-key " +
				"(default none)"},
		{Name: "module-key", Value: "BASE64", Secret: true, Assign: Text(&s.ModuleKey),
			Usage: "the module's own symmetric key; better in the environment, as -key"},
		{Name: "store", Value: "DIR", Assign: Text(&s.Store),
			Usage: "directory to remember the assignment in; without it every start asks DPS"},
		{Name: "endpoint", Value: "HOST[:PORT]", Assign: Text(&s.Endpoint),
			Usage: "DPS endpoint (default global.azure-devices-provisioning.net)"},
		{Name: "ca", Value: "FILE", Assign: Text(&s.CA),
			Usage: "PEM file of authorities to trust besides the system's"},
		{Name: "transport", Value: "auto|https|mqtt|ws", Assign: s.assignTransport,
			Usage: "how to register with DPS (default auto)"},
		{Name: "hub-transport", Value: "auto|mqtt|ws", Assign: s.assignHubTransport,
			Usage: "how to connect to the hub (default auto)"},
		{Name: "connect-to", Value: "HOST:PORT:HOST:PORT", Many: true, Assign: s.Redirect,
			Usage: "connect to the second host and port in place of the first; empty parts match " +
				"all, or stay (repeatable; in the environment, separated by spaces)"},
		{Name: "stagger", Value: "DURATION",
			Usage:  "spread a fleet's first request to DPS over this time (default 0s)",
			Assign: Duration(&s.Stagger, 0, "is negative: use 0s for none")},
	}
}

func (s *Settings) assignTransport(text string) error {
	for t := dps.Auto; t <= dps.MQTTWebSocket; t++ {
		if text == t.String() {
			s.Transport = t
			return nil
		}
	}
	return errors.New("is not a transport: use auto, https, mqtt or ws")
}

func (s *Settings) assignHubTransport(text string) error {
	for t := hubconn.Auto; t <= hubconn.MQTTWebSocket; t++ {
		if text == t.String() {
			s.HubTransport = t
			return nil
		}
	}
	return errors.New("is not a transport: use auto, mqtt or ws")
}

// Redirect adds one -connect-to, behind those that there are.
func (s *Settings) Redirect(text string) error {
	r, err := parseRedirect(text)
	s.Redirects = append(s.Redirects, r)
	return err
}
