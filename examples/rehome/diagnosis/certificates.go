// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// tlsStep tells how TLS came about, or why it did not.
func (r *route) tlsStep(w way, clock *clock, err error) Step {
	s := Step{Name: w.tls, Result: OK, Took: r.tlsTook}
	switch {
	case !r.dialed || r.tcpErr != nil:
		return Step{Name: w.tls, Result: Skipped, Cause: "there is no connection"}
	case r.tls != nil:
		s.Saw = append([]string{tls.VersionName(r.tls.Version)}, chainOf(r.tls, clock.now())...)
		return s
	}
	s.Result, s.Took = Failed, time.Since(r.open)
	failed, unverified := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case unverified:
		for _, c := range failed.UnverifiedCertificates {
			s.Saw = append(s.Saw, describe(c))
		}
		s.Cause, s.Fix = explainCertificate(failed, w, clock)
	case err == nil:
		s.Cause = "the handshake did not come to its end"
	case r.proxy != nil:
		s.Cause, s.Fix = "the proxy does not let it through: "+lastText(err),
			"allow "+w.service+" at the proxy, with the user and password it wants in HTTPS_PROXY"
	case isCut(err):
		s.Cause = "the connection was cut during the handshake"
		s.Fix = "look for a firewall that filters by name: it has to let " + w.service + " through"
	case isTimeout(err):
		s.Cause = "the handshake was not answered"
		s.Fix = "look for a firewall that drops tls, and for packets too large for the way (mtu)"
	default:
		s.Cause = "the handshake failed: " + lastText(err)
		s.Fix = "look for a server or a firewall there that is not " + w.service
	}
	return s
}

// chainOf are the certificates of the chain that was verified, from the server's to the root.
func chainOf(state *tls.ConnectionState, now time.Time) (lines []string) {
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	chain := state.VerifiedChains[0]
	for i, c := range chain {
		line := describe(c)
		if i == len(chain)-1 {
			line = "root: " + c.Subject.String()
		} else if left := c.NotAfter.Sub(now); left < 7*24*time.Hour {
			line += ", in " + days(left)
		}
		lines = append(lines, line)
	}
	return lines
}

func describe(c *x509.Certificate) string {
	return fmt.Sprintf("%s, by %s, valid from %s to %s", c.Subject, c.Issuer,
		c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}

// explainCertificate says why a chain does not verify.
func explainCertificate(
	failed *tls.CertificateVerificationError, w way, clock *clock,
) (cause, fix string) {
	invalid, dated := errors.AsType[x509.CertificateInvalidError](failed)
	_, misnamed := errors.AsType[x509.HostnameError](failed)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](failed)
	switch {
	case dated && invalid.Reason == x509.Expired:
		return explainDates(invalid.Cert, w, clock)
	case misnamed:
		return "the certificate is another server's: " + w.service + " is not what answers there",
			"check -connect-to, the hosts file and the name server; a captive portal does this too"
	case unknown:
		return "the chain leads to no authority that this device trusts, but to " +
				topOf(failed.UnverifiedCertificates),
			"if that is your proxy or firewall, which inspects tls, give its root with -ca, or " +
				"exempt " + w.service + " from it; if it is nobody you know, do not"
	}
	return "its certificate does not verify: " + lastText(failed),
		"have whoever runs what answers there mend its certificate"
}

func explainDates(c *x509.Certificate, w way, clock *clock) (cause, fix string) {
	now := clock.now()
	told := ""
	if clock.told {
		told = ", which dps has confirmed"
	}
	by := fmt.Sprintf(" by the time used, %s%s", now.UTC().Format(time.RFC3339), told)
	name := c.Subject.String()
	switch {
	case now.Before(c.NotBefore):
		return "the certificate of " + name + " is not valid before " +
				c.NotBefore.UTC().Format(time.RFC3339) + by,
			"set the device's clock; if it is right, mend the certificate of what answers there"
	default:
		return "the certificate of " + name + " has expired at " +
				c.NotAfter.UTC().Format(time.RFC3339) + by,
			"set the device's clock; if it is right, have whoever runs what answers as " +
				w.service + " renew its certificate"
	}
}

// topOf is the authority at the end of a chain that was sent.
func topOf(sent []*x509.Certificate) string {
	if len(sent) == 0 {
		return "none"
	}
	return strings.Join(strings.Fields(sent[len(sent)-1].Issuer.String()), " ")
}
