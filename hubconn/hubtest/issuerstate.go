// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
)

// issuerState is what an issuer keeps over a restart.
type issuerState struct {
	Authorities map[string]authorityState    `json:"authorities"`
	Policies    map[string]CertificatePolicy `json:"policies"`
}

// authorityState has certificates and keys in DER, keys as PKCS #8.
type authorityState struct {
	Root            []byte `json:"root"`
	RootKey         []byte `json:"rootKey"`
	Intermediate    []byte `json:"intermediate"`
	IntermediateKey []byte `json:"intermediateKey"`
}

// MarshalJSON writes the policies and authorities, with their private keys.
func (i *Issuer) MarshalJSON() ([]byte, error) {
	i.mu.Lock()
	out := issuerState{
		Authorities: map[string]authorityState{}, Policies: maps.Clone(i.policies),
	}
	all := maps.Clone(i.authorities)
	i.mu.Unlock()
	for name, a := range all {
		rootKey, err := x509.MarshalPKCS8PrivateKey(a.rootKey)
		if err != nil {
			return nil, err
		}
		key, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			return nil, err
		}
		out.Authorities[name] = authorityState{
			Root: a.root.Raw, RootKey: rootKey, Intermediate: a.intermediate.Raw,
			IntermediateKey: key,
		}
	}
	return json.Marshal(out)
}

// UnmarshalJSON puts what MarshalJSON wrote in the place of all policies and authorities. What is
// damaged is refused; the issuer is then as it was.
func (i *Issuer) UnmarshalJSON(data []byte) error {
	var in issuerState
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	authorities := map[string]*authority{}
	for name, s := range in.Authorities {
		a, err := s.read()
		if err != nil {
			return fmt.Errorf("certificate authority %s: %w", name, err)
		}
		authorities[name] = a
	}
	if in.Policies == nil {
		in.Policies = map[string]CertificatePolicy{}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.authorities, i.policies = authorities, in.Policies
	return nil
}

func (s authorityState) read() (*authority, error) {
	a := &authority{}
	var err error
	if a.root, err = x509.ParseCertificate(s.Root); err != nil {
		return nil, err
	}
	if a.intermediate, err = x509.ParseCertificate(s.Intermediate); err != nil {
		return nil, err
	}
	if a.rootKey, err = parseKey(s.RootKey); err != nil {
		return nil, err
	}
	a.key, err = parseKey(s.IntermediateKey)
	return a, err
}

func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%T is not an elliptic curve key", key)
	}
	return ec, nil
}
