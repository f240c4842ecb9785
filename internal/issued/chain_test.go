// SPDX-License-Identifier: Apache-2.0

package issued_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/issued"
)

func TestAChainIsAcceptedAsTheServiceWritesIt(t *testing.T) {
	intermediate, root := newIssuer(t)
	deeper := intermediate
	var all []*x509.Certificate
	for range 3 { // four authorities of one name, and the root
		all = append([]*x509.Certificate{deeper.certificate}, all...)
		deeper = deeper.authority(ecKey(t, elliptic.P384()))
	}
	key := ecKey(t, elliptic.P256())
	own := intermediate.issue(leaf(), key.Public())
	deep := []*x509.Certificate{deeper.issue(leaf(), key.Public()), deeper.certificate}
	deep = append(append(deep, all...), root.certificate)
	bare := intermediate.issue(&x509.Certificate{Subject: leaf().Subject}, key.Public())
	wrapped := base64.StdEncoding.EncodeToString(
		append(armour("CERTIFICATE", own.Raw), "\r\n \n"...),
	)
	for name, chain := range map[string][]string{
		"der": derOf(own, intermediate.certificate, root.certificate),
		"pem": pemOf(own, intermediate.certificate, root.certificate),
		"both": {
			derOf(own)[0], pemOf(intermediate.certificate)[0], derOf(root.certificate)[0],
		},
		"alone": pemOf(own), "six": pemOf(deep...), "no use named": derOf(bare),
		"blank lines": {wrapped},
	} {
		for _, id := range []string{device, "Sensor-042"} {
			pair, err := issued.KeyPair(chain, key, id, now)
			require.NoError(t, err, name)
			assert.Len(t, pair.Certificate, len(chain), name)
			assert.Equal(t, pair.Certificate[0], pair.Leaf.Raw, name)
			assert.Equal(t, crypto.PrivateKey(key), pair.PrivateKey)
			assert.Equal(t, device, pair.Leaf.Subject.CommonName)
		}
	}
	require.Len(t, deep, 6)
}

func TestAClockThatIsALittleSlowIsTolerated(t *testing.T) {
	intermediate, _ := newIssuer(t)
	key := ecKey(t, elliptic.P256())
	chain := derOf(intermediate.issue(leaf(), key.Public()))
	for offset, ok := range map[time.Duration]bool{
		-24*time.Hour - 5*time.Minute: true, -24*time.Hour - 5*time.Minute - time.Second: false,
		24 * time.Hour: true, 24*time.Hour + time.Second: false,
	} {
		_, err := issued.KeyPair(chain, key, device, now.Add(offset))
		assert.Equal(t, ok, err == nil, "%v: %v", offset, err)
	}
}

func TestABadChainIsRefusedWithWhatIsWrong(t *testing.T) {
	intermediate, root := newIssuer(t)
	stranger, _ := newIssuer(t)
	key, other := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	own := intermediate.issue(leaf(), key.Public())
	with := func(change func(*x509.Certificate)) *x509.Certificate {
		template := leaf()
		change(template)
		return intermediate.issue(template, key.Public())
	}
	named := func(name string) []string {
		return derOf(with(func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: name} }))
	}
	weakIntermediate := root.authority(weak)
	expired := authority("intermediate")
	expired.NotAfter = now.Add(-time.Hour)
	expired = root.issue(expired, intermediate.key.Public())
	clientUse := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	forged := stranger.issue(leaf(), key.Public())
	text := func(raw []byte) []string { return []string{base64.StdEncoding.EncodeToString(raw)} }
	pemText := armour("CERTIFICATE", own.Raw)
	privateKey, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)

	for name, in := range map[string]struct {
		chain []string
		key   crypto.Signer
		want  string
	}{
		"another key":    {derOf(own, intermediate.certificate), other, "for another key"},
		"no key":         {derOf(own), nil, "the key is missing"},
		"another name":   {named("sensor-043"), key, `"sensor-043" is not "sensor-042"`},
		"longer name":    {named("sensor-0420"), key, "common name"},
		"no name":        {named(""), key, "common name"},
		"long s":         {named("\u017fensor-042"), key, "common name"},
		"expired":        {derOf(with(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Hour) })), key, "certificate 1 of 1 expired at 2026-11-30T11:00:00Z, and it is 2026-11-30T12:00:00Z: check the clock"},
		"not yet valid":  {derOf(with(func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour) })), key, "certificate 1 of 1 is not valid before 2026-11-30T13:00:00Z"},
		"expired issuer": {derOf(own, expired, root.certificate), key, "certificate 2 of 3 expired"},
		"none":           {nil, key, "has no certificate"},
		"seven": {
			slices.Repeat(derOf(own), 7), key, "has 7 certificates, at most 6",
		},
		"a megabyte": {
			[]string{derOf(own)[0], strings.Repeat("AAAA", 1<<18)}, key, "at most 65536",
		},
		"garbage":           {[]string{"!?"}, key, "certificate 1 of 1 is not base64"},
		"empty":             {[]string{""}, key, "is not base64"},
		"url base64":        {[]string{"__--"}, key, "is not base64"},
		"bare pem":          {[]string{string(pemText)}, key, "is not base64"},
		"no certificate":    {text([]byte("hello")), key, "neither der nor pem"},
		"cut der":           {text(own.Raw[:200]), key, "neither der nor pem"},
		"der and more":      {text(append(slices.Clone(own.Raw), 0)), key, "neither der nor pem"},
		"broken pem":        {text(pemText[:100]), key, "something else than a certificate"},
		"pem of junk":       {text(armour("CERTIFICATE", []byte("x"))), key, "neither der nor pem"},
		"pem of a key":      {text(armour("PRIVATE KEY", privateKey)), key, "something else"},
		"two in one pem":    {text(append(slices.Clone(pemText), armour("CERTIFICATE", root.certificate.Raw)...)), key, "more than one"},
		"second is garbage": {[]string{derOf(own)[0], "!"}, key, "certificate 2 of 2 is not base64"},
		"wrong order":       {derOf(own, root.certificate, intermediate.certificate), key, "certificate 2 of 3 did not issue the one before"},
		"turned round":      {derOf(root.certificate, intermediate.certificate, own), key, "for another key"},
		"leaf twice":        {derOf(own, own), key, "did not issue"},
		"foreign issuer":    {derOf(own, stranger.certificate), key, "did not issue"},
		"same name, foreign signature": {
			derOf(forged, intermediate.certificate, root.certificate), key, "did not issue",
		},
		"authority as leaf": {derOf(with(func(c *x509.Certificate) {
			c.IsCA, c.BasicConstraintsValid = true, true
		})), key, "certificate of an authority"},
		"for servers": {derOf(with(func(c *x509.Certificate) { c.ExtKeyUsage = clientUse })), key, "not for client authentication"},
		"unknown use": {derOf(with(func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		})), key, "not for client authentication"},
		"encipherment alone": {derOf(with(func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyEncipherment
		})), key, "not for client authentication"},
		"short rsa leaf":   {derOf(intermediate.issue(leaf(), weak.Public())), weak, "certificate 1 of 1 has an rsa key of 1024 bits"},
		"short rsa issuer": {derOf(weakIntermediate.issue(leaf(), key.Public()), weakIntermediate.certificate), key, "certificate 2 of 2 has an rsa key"},
	} {
		pair, err := issued.KeyPair(in.chain, in.key, device, now)
		require.ErrorContains(t, err, in.want, name)
		assert.Equal(t, tls.Certificate{}, pair, name)
		assert.NotContains(t, err.Error(), "\n", name)
		assert.Less(t, len(err.Error()), 250, name)
		assert.Contains(t, err.Error(), ":", "%s: what to do", name)
	}
}

func FuzzKeyPair(f *testing.F) {
	intermediate, root := newIssuer(f)
	key := ecKey(f, elliptic.P256())
	own := intermediate.issue(leaf(), key.Public())
	good := [][]string{
		derOf(own, intermediate.certificate, root.certificate),
		pemOf(own, intermediate.certificate), pemOf(own),
	}
	for _, chain := range good {
		f.Add(strings.Join(chain, " "), true)
		f.Add(strings.Join(chain[1:], " "), true)
		if len(chain) > 1 {
			slices.Reverse(chain)
			f.Add(strings.Join(chain, " "), true)
		}
	}
	f.Add("-----BEGIN CERTIFICATE-----", false)
	f.Add(strings.Repeat("A ", 7), true)
	f.Add(string(armour("CERTIFICATE", own.Raw))+string(armour("CERTIFICATE", own.Raw)), false)
	f.Fuzz(func(t *testing.T, text string, encoded bool) {
		chain := strings.Split(text, " ")
		if !encoded { // the fuzzer finds its way into PEM and DER sooner so
			chain = []string{base64.StdEncoding.EncodeToString([]byte(text))}
		}
		pair, err := issued.KeyPair(chain, key, device, now)
		if err != nil {
			assert.NotContains(t, err.Error(), "\n")
			assert.Empty(t, pair.Certificate)
			return
		}
		require.NotNil(t, pair.Leaf)
		assert.True(t, key.PublicKey.Equal(pair.Leaf.PublicKey))
		assert.True(t, strings.EqualFold(device, pair.Leaf.Subject.CommonName))
		require.Len(t, pair.Certificate, len(chain))
		for i, der := range pair.Certificate {
			_, err := x509.ParseCertificate(der)
			require.NoError(t, err, i)
		}
	})
}
