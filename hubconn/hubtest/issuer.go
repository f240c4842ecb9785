// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// defaultValidity is that of certificates under a policy that names none. At the service it is 7 to
// 90 days.
const defaultValidity = 30 * 24 * time.Hour

// An IssuerConfig says how an [Issuer] behaves. The zero value is useful. It is read once, by
// [NewIssuer].
type IssuerConfig struct {
	// DER makes each certificate of a chain base64 of its DER, as the service's specification has
	// it. Default: base64 of its PEM text, as the service was seen to send it.
	DER bool
	// DocumentedKeys refuses all keys but those that the service's documentation lists: P-384.
	// Default: P-256, P-384 and RSA of 2048 bits or more, as the service was seen to accept.
	DocumentedKeys bool
}

// A CertificatePolicy says what an [Issuer] issues. All names are case-insensitive.
type CertificatePolicy struct {
	// Namespace is the namespace of Azure Device Registry.
	Namespace string
	// Authority is the certificate authority of the namespace that issues.
	Authority string
	// Name is the policy's own.
	Name string
	// Validity is how long a certificate is valid. Default 30 days. The service has 7 to 90 days;
	// here it may be shorter, so that tests see the end of it.
	Validity time.Duration
}

// ID is how identities refer to the policy: "namespace/authority/name".
func (p CertificatePolicy) ID() string {
	return strings.ToLower(p.Namespace + "/" + p.Authority + "/" + p.Name)
}

// An Issuer issues operational certificates to devices, by their certificate signing requests, as
// the certificate authorities of Azure Device Registry do: to DPS when a device registers, and to
// hubs when it renews. It makes an authority, with a root of its own, when a policy of it is set.
// It is safe for concurrent use.
type Issuer struct {
	network *simnet.Network
	cfg     IssuerConfig

	mu          sync.Mutex
	authorities map[string]*authority        // by "namespace/authority"
	policies    map[string]CertificatePolicy // by ID
}

// authority is an intermediate CA under a root of its own. It is never changed in place.
type authority struct {
	root, intermediate *x509.Certificate
	rootKey, key       *ecdsa.PrivateKey
}

// NewIssuer makes an issuer without policies, which goes by the network's clock.
func NewIssuer(n *simnet.Network, cfg IssuerConfig) *Issuer {
	return &Issuer{
		network: n, cfg: cfg, authorities: map[string]*authority{},
		policies: map[string]CertificatePolicy{},
	}
}

// SetPolicy makes a policy, and its authority if there is none, or changes it: that holds for
// certificates that are issued from now on. An error names the field that is wrong.
func (i *Issuer) SetPolicy(p CertificatePolicy) error {
	for field, name := range map[string]string{
		"Namespace": p.Namespace, "Authority": p.Authority, "Name": p.Name,
	} {
		if !validPolicyName(name) {
			return fmt.Errorf(
				"hubtest: certificate policy: %s: %q is not 3 to 63 letters, digits and hyphens, "+
					"with no hyphen in front", field, name,
			)
		}
	}
	if p.Validity < 0 {
		return fmt.Errorf("hubtest: certificate policy: Validity: %v is negative", p.Validity)
	}
	p.Validity = cmp.Or(p.Validity, defaultValidity)
	i.mu.Lock()
	defer i.mu.Unlock()
	name := strings.ToLower(p.Namespace + "/" + p.Authority)
	if i.authorities[name] == nil {
		a, err := newAuthority(name, i.network.Now())
		if err != nil {
			return fmt.Errorf("hubtest: certificate authority %s: %w", name, err)
		}
		i.authorities[name] = a
	}
	i.policies[p.ID()] = p
	return nil
}

// validPolicyName holds for names of namespaces, authorities and policies (Azure CLI extension for
// IoT: adr/params.py).
func validPolicyName(name string) bool {
	for n, r := range name {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && (r != '-' || n == 0) {
			return false
		}
	}
	return len(name) >= 3 && len(name) <= 63
}

// Policy returns a policy by its ID.
func (i *Issuer) Policy(id string) (CertificatePolicy, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p, ok := i.policies[strings.ToLower(id)]
	return p, ok
}

// DeletePolicy removes a policy, and reports whether there was one. Nothing is issued under it any
// more; certificates that were go on being accepted, until they expire or are revoked.
func (i *Issuer) DeletePolicy(id string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	_, ok := i.policies[strings.ToLower(id)]
	delete(i.policies, strings.ToLower(id))
	return ok
}

// Revoke replaces the intermediate CA of an authority: hubs that are in step with the issuer refuse
// every certificate that it has issued, at the next connection, and each of its devices has to
// register again. It reports whether there is such an authority.
func (i *Issuer) Revoke(namespace, authority string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	name := strings.ToLower(namespace + "/" + authority)
	old := i.authorities[name]
	if old == nil {
		return false
	}
	next, err := old.renewed(name, i.network.Now())
	if err != nil {
		return false // the random numbers of the system never fail
	}
	i.authorities[name] = next
	return true
}

// current returns the intermediate CAs that hubs are to trust.
func (i *Issuer) current() []*x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make([]*x509.Certificate, 0, len(i.authorities))
	for _, a := range i.authorities {
		all = append(all, a.intermediate)
	}
	return all
}

// Issue issues a certificate under the policy of an ID, and returns its chain as the service writes
// it: the certificate, the intermediate CA, the root. The certificate holds the credential ID of
// the device ([Device].CredentialID), by which hubs know whose it is. The subject of the request
// has to be one of the names. Errors are of type [*Error] with the service's code: 400004 and
// 400037 for a request that is wrong, 400040 for a policy that does not exist.
func (i *Issuer) Issue(policy, credentialID, csr string, names ...string) ([]string, error) {
	return i.IssueFaulty("", policy, credentialID, csr, names...)
}

// IssueFaulty is Issue with something wrong about the chain; what is wrong with the request is an
// error all the same. A chain that is missing is nil. A fault that does not exist is an error.
func (i *Issuer) IssueFaulty(
	fault ChainFault, policy, credentialID, csr string, names ...string,
) ([]string, error) {
	if err := new(ChainFault).UnmarshalText([]byte(fault)); err != nil {
		return nil, fmt.Errorf("hubtest: chain fault: %w", err)
	}
	if err := i.CheckRequest(csr, names...); err != nil {
		return nil, err
	}
	request, err := i.parseRequest(csr)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	p, ok := i.policies[strings.ToLower(policy)]
	a := i.authorities[strings.ToLower(p.Namespace+"/"+p.Authority)]
	i.mu.Unlock()
	if !ok || a == nil {
		return nil, issueError(codeCredentialFailed, "no certificate policy "+policy)
	}
	leaf, err := a.issue(fault, request, credentialID, i.network.Now(), p.Validity)
	if err != nil {
		return nil, issueError(codeCredentialFailed, err.Error())
	}
	return i.chain(fault, leaf, a)
}

func encodeCertificate(der []byte, asDER bool) string {
	if !asDER {
		der = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	return base64.StdEncoding.EncodeToString(der)
}

func newAuthority(name string, now time.Time) (*authority, error) {
	rootKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := caTemplate(name+" root", now, 2)
	der, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		return nil, err
	}
	a := &authority{rootKey: rootKey}
	if a.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	return a.renewed(name, now)
}

// renewed is the authority with another intermediate CA.
func (a *authority) renewed(name string, now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(
		rand.Reader, caTemplate(name, now, 0), a.root, key.Public(), a.rootKey,
	)
	if err != nil {
		return nil, err
	}
	intermediate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{root: a.root, rootKey: a.rootKey, intermediate: intermediate, key: key}, nil
}

func caTemplate(name string, now time.Time, pathLen int) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: serialNumber(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, SignatureAlgorithm: x509.ECDSAWithSHA384,
		MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
	}
}

// issue makes a certificate as the service does, as far as that is published; what is not: it is
// for client authentication, and holds the credential ID as a URI.
func (a *authority) issue(
	fault ChainFault, request *x509.CertificateRequest, credentialID string, now time.Time,
	validity time.Duration,
) ([]byte, error) {
	key, err := fault.publicKey(request)
	if err != nil {
		return nil, err
	}
	from, to := fault.validity(now, validity)
	at := "http://issuer.invalid/" + url.PathEscape(a.intermediate.Subject.CommonName)
	template := &x509.Certificate{
		SerialNumber: serialNumber(),
		Subject:      pkix.Name{CommonName: request.Subject.CommonName},
		NotBefore:    from, NotAfter: to,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, URIs: []*url.URL{credentialURI(credentialID)},
		CRLDistributionPoints: []string{at + ".crl"}, IssuingCertificateURL: []string{at + ".cer"},
		SignatureAlgorithm: x509.ECDSAWithSHA384,
	}
	return x509.CreateCertificate(rand.Reader, template, a.intermediate, key, a.key)
}

// credentialURI is how a certificate names its credential ID.
func credentialURI(id string) *url.URL { return &url.URL{Scheme: "urn", Opaque: "uuid:" + id} }

func serialNumber() *big.Int {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	raw[0] = raw[0]&0x7f | 0x40
	return new(big.Int).SetBytes(raw[:])
}
