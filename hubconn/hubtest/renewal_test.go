// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/csr"
)

const renewTopic = "$iothub/credentials/POST/issueCertificate/?$rid="

var (
	renewPolicy = CertificatePolicy{
		Namespace: "fleet", Authority: "ica1", Name: "week", Validity: 7 * 24 * time.Hour,
	}
	otherPolicy = CertificatePolicy{Namespace: "fleet", Authority: "ica2", Name: "month"}
)

// renewing is a hub with an issuer and a device that got its certificate when it registered.
type renewing struct {
	t      *testing.T
	h      *Hub
	issuer *Issuer
	key    *ecdsa.PrivateKey
}

func inRenewal(t *testing.T, f func(t *testing.T, w *renewing)) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		w := &renewing{
			t: t, h: NewHub(n, hubHost), issuer: NewIssuer(n, IssuerConfig{}),
			key: csr.Key(t, elliptic.P256()),
		}
		require.NoError(t, w.issuer.SetPolicy(renewPolicy))
		w.h.SetIssuer(w.issuer)
		require.NoError(t, w.h.Put(Device{ID: "dev1", CertificatePolicy: renewPolicy.ID()}))
		f(t, w)
	})
}

// issued is what DPS gives the device.
func (w *renewing) issued() *tls.Certificate {
	w.t.Helper()
	d, _ := w.h.Get("dev1")
	chain, err := w.issuer.Issue(
		d.CertificatePolicy, d.CredentialID, csr.Request(w.t, "dev1", w.key), "dev1",
	)
	require.NoError(w.t, err)
	return w.pair(chain)
}

func (w *renewing) pair(chain []string) *tls.Certificate {
	parsed := csr.Chain(w.t, chain)
	return &tls.Certificate{
		Certificate: [][]byte{parsed[0].Raw, parsed[1].Raw}, PrivateKey: w.key,
	}
}

func (w *renewing) client(cert *tls.Certificate) *client {
	return &client{
		t: w.t, n: w.h.network, host: hubHost, id: "dev1", cert: cert, clean: true,
		username: hubHost + "/dev1/?api-version=2025-08-01-preview",
	}
}

// connected is a client that listens for certificates.
func (w *renewing) connected(cert *tls.Certificate) *client {
	w.t.Helper()
	c := w.client(cert)
	require.Zero(w.t, c.connect("mqtt"))
	require.Equal(w.t, []byte{1}, c.subscribeAt(1, credentialFilter))
	return c
}

// hears is the next message: status with $rid, and body.
func (w *renewing) hears(c *client) (string, map[string]any) {
	w.t.Helper()
	m := c.message()
	if m.Qos == 1 {
		c.ack(m)
	}
	var body map[string]any
	require.NoError(w.t, json.Unmarshal(m.Payload, &body), "%s", m.Payload)
	return strings.TrimPrefix(m.TopicName, "$iothub/credentials/res/"), body
}

func (w *renewing) asks(c *client, rid, body string) (string, map[string]any) {
	w.t.Helper()
	c.publish(renewTopic+rid, 1, 9, body)
	require.IsType(w.t, &packets.PubackPacket{}, c.receive(), "the acknowledgement comes first")
	return w.hears(c)
}

func (w *renewing) body(members string) string {
	return `{"id":"dev1","csr":"` + csr.Request(w.t, "dev1", w.key) + `"` + members + `}`
}

func TestACertificateIsRenewedOverTheHubsTopics(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		c := w.connected(w.issued())
		at, first := w.asks(c, "a1b2-c3", w.body(`,"replace":null`))
		assert.Equal(t, "202/?$rid=a1b2-c3", at)
		assert.Len(t, first, 2)
		expires, err := time.Parse(credentialExpiry, first["operationExpires"].(string))
		require.NoError(t, err)
		assert.WithinDuration(t, w.h.network.Now().Add(12*time.Hour), expires, 0)

		at, end := w.hears(c)
		assert.Equal(t, "200/?$rid=a1b2-c3", at)
		assert.Equal(t, first["correlationId"], end["correlationId"])
		var encoded []string
		for _, one := range end["certificates"].([]any) {
			encoded = append(encoded, one.(string))
		}
		chain := csr.Chain(t, encoded)
		require.Len(t, chain, 3, "leaf, intermediate, root")
		leaf := chain[0]
		require.NoError(t, leaf.CheckSignatureFrom(chain[1]))
		require.NoError(t, chain[1].CheckSignatureFrom(chain[2]))
		assert.Equal(t, "dev1", leaf.Subject.CommonName)
		assert.True(t, w.key.PublicKey.Equal(leaf.PublicKey))
		assert.Equal(t, 7*24*time.Hour+5*time.Minute, leaf.NotAfter.Sub(leaf.NotBefore))
		assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
		assert.NotEmpty(t, leaf.CRLDistributionPoints)
		assert.NotEmpty(t, leaf.IssuingCertificateURL)
		assert.Equal(t, x509.ECDSAWithSHA384, leaf.SignatureAlgorithm)

		c.close()
		require.Zero(t, w.client(w.pair(encoded)).connect("mqtt"), "the next connection uses it")
		var ends []Stage
		for _, o := range w.h.Operations() {
			ends = append(ends, o.On)
		}
		assert.Equal(t, []Stage{IssueStart, IssueEnd}, ends)
	})
}

func TestIssuedCertificatesLetInWhomTheyWereIssuedTo(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		good := w.issued()
		refused := func(cert *tls.Certificate, why string) {
			t.Helper()
			require.Equal(t, byte(5), w.client(cert).connect("mqtt"))
			assert.Contains(t, last(t, w.h).Reason, why)
		}
		for _, transport := range []string{"mqtt", "ws"} {
			c := w.client(good)
			require.Zero(t, c.connect(transport))
			c.close()
		}
		response, _ := w.client(good).https("POST /messages/events", nil, "x")
		assert.Equal(t, 204, response.StatusCode, "over HTTPS too")

		require.NoError(t, w.h.Put(Device{ID: "dev2", CertificatePolicy: renewPolicy.ID()}))
		two := w.client(good)
		two.id, two.username = "dev2", hubHost+"/dev2/?api-version=2025-08-01-preview"
		require.Equal(t, byte(5), two.connect("mqtt"), "another device's")

		foreign := simnet.NewCA("Factory", w.h.network.Now()).Device("dev1")
		refused(&foreign, "does not trust")
		d, _ := w.h.Get("dev1")
		assert.Empty(t, d.PrimaryKey, "a device with certificates needs no keys")

		c := w.client(good)
		require.Zero(t, c.connect("mqtt"))
		require.True(t, w.h.RevokeCredentials("dev1"))
		c.ended()
		refused(good, "revoked")
		require.Zero(t, w.client(w.issued()).connect("mqtt"), "a new one lets it in")
		assert.False(t, w.h.RevokeCredentials("nobody"))

		short := w.issued()
		time.Sleep(7*24*time.Hour - time.Second)
		require.Zero(t, w.client(short).connect("mqtt"))
		time.Sleep(2 * time.Second)
		refused(short, "not valid at this time")

		fresh := w.issued()
		require.True(t, w.issuer.Revoke("fleet", "ica1"))
		assert.False(t, w.issuer.Revoke("fleet", "ica9"))
		refused(fresh, "does not trust")
		require.Zero(t, w.client(w.issued()).connect("mqtt"))
		require.True(t, w.h.Disable("dev1"))
		refused(w.issued(), "disabled")
	})
}

func TestAHubThatIsNotInStepLearnsOfAuthoritiesWhenItIsTold(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		w.h.SetCredentialSync(false)
		require.Zero(t, w.client(w.issued()).connect("mqtt"), "it knew that one")
		require.NoError(t, w.issuer.SetPolicy(otherPolicy))
		require.NoError(t, w.h.Put(Device{ID: "dev1", CertificatePolicy: otherPolicy.ID()}))
		cert := w.issued()
		require.Equal(t, byte(5), w.client(cert).connect("mqtt"))
		assert.Contains(t, last(t, w.h).Reason, "does not trust")
		w.h.SyncCredentials()
		require.Zero(t, w.client(cert).connect("mqtt"))
		require.True(t, w.issuer.Revoke("fleet", "ica2"))
		require.Zero(t, w.client(cert).connect("mqtt"), "revoked, and the hub has not heard of it")
		w.h.SetCredentialSync(true)
		require.Equal(t, byte(5), w.client(cert).connect("mqtt"))
	})
}

func TestWrongRequestsForACertificateAreRefused(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		c := w.connected(w.issued())
		good := csr.Request(t, "dev1", w.key)
		for name, refused := range map[string]struct {
			code int
			body string
		}{
			"empty":            {400004, ""},
			"not JSON":         {400006, "{"},
			"not an object":    {400004, "[]"},
			"no id":            {400004, `{"csr":"` + good + `"}`},
			"no csr":           {400004, `{"id":"dev1"}`},
			"empty csr":        {400004, `{"id":"dev1","csr":""}`},
			"number":           {400004, `{"id":"dev1","csr":7}`},
			"other device":     {400004, `{"id":"dev2","csr":"` + good + `"}`},
			"other name":       {400004, `{"id":"dev1","csr":"` + csr.Request(t, "dev2", w.key) + `"}`},
			"unknown member":   {400004, w.body(`,"hello":1`)},
			"above 8 KB":       {400004, `{"id":"dev1","csr":"` + strings.Repeat("A", 8196) + `"}`},
			"not base64":       {400004, `{"id":"dev1","csr":"!!!"}`},
			"line breaks":      {400004, `{"id":"dev1","csr":"` + good[:64] + `\n` + good[64:] + `"}`},
			"bad replace":      {400004, w.body(`,"replace":"-x-"`)},
			"nothing":          {412001, w.body(`,"replace":"*"`)},
			"nothing by ID":    {412001, w.body(`,"replace":"a1b2"`)},
			"PEM for DER":      {400004, `{"id":"dev1","csr":"-----BEGIN CERTIFICATE REQUEST-----"}`},
			"replace a number": {400004, w.body(`,"replace":1`)},
		} {
			at, body := w.asks(c, "r1r1", refused.body)
			assert.Equal(t, float64(refused.code), body["errorCode"], name)
			assert.Equal(t, strconv.Itoa(refused.code/1000)+"/?$rid=r1r1", at, name)
			assert.Contains(t, body, "info", name)
			assert.Nil(t, body["info"], name)
			assert.NotEmpty(t, body["trackingId"], name)
		}
		// What is found out later is told after the 202.
		small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // refused, that is the test
		if err == nil {
			assertLate(t, w, c, csr.Request(t, "dev1", small))
		}
		assertLate(t, w, c, base64.StdEncoding.EncodeToString([]byte("no request")))
		assertLate(t, w, c, csr.Request(t, "dev1", csr.Key(t, elliptic.P521())))
		broken, _ := base64.StdEncoding.DecodeString(good)
		broken[len(broken)-1] ^= 1
		assertLate(t, w, c, base64.StdEncoding.EncodeToString(broken))

		require.NoError(t, w.h.Put(Device{ID: "dev1"}))
		_, body := w.asks(c, "r2r2", w.body(""))
		assert.Equal(t, 412005.0, body["errorCode"], "no certificates are issued to it")
	})
}

// assertLate sends a request that is accepted and then refused.
func assertLate(t *testing.T, w *renewing, c *client, request string) {
	t.Helper()
	at, _ := w.asks(c, "late", `{"id":"dev1","csr":"`+request+`"}`)
	require.Equal(t, "202/?$rid=late", at)
	at, body := w.hears(c)
	assert.Equal(t, "400/?$rid=late", at)
	assert.Equal(t, 400037.0, body["errorCode"])
	info := body["info"].(map[string]any)
	assert.Equal(t, "late", info["requestId"])
	assert.Equal(t, "400000", info["credentialError"])
	assert.NotEmpty(t, info["credentialMessage"])
}

func TestRequestsForACertificateWithoutAnAddressForTheAnswer(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		c := w.client(w.issued())
		require.Zero(t, c.connect("mqtt"))
		c.publish(renewTopic+"r1r1", 0, 0, w.body(""))
		c.silent(time.Minute)
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		c.silent(time.Minute)
		c.publish("$iothub/credentials/POST/issueCertificate/", 0, 0, w.body(""))
		c.silent(time.Minute)
		at, _ := w.asks(c, "r1r1", w.body(""))
		assert.Equal(t, "202/?$rid=r1r1", at, "nothing was begun")
	})
}

func TestOneRequestForACertificateAtATime(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		w.h.Inject(Fault{On: IssueEnd, Times: -1, Delay: 20 * time.Minute})
		c := w.connected(w.issued())
		_, first := w.asks(c, "one1", w.body(""))
		at, body := w.asks(c, "two2", w.body(""))
		assert.Equal(t, "409/?$rid=two2", at)
		assert.Equal(t, 409004.0, body["errorCode"])
		assert.Positive(t, body["retryAfter"])
		info := body["info"].(map[string]any)
		assert.Equal(t, "one1", info["requestId"])
		assert.Equal(t, first["correlationId"], info["correlationId"])
		assert.Equal(t, first["operationExpires"], info["operationExpires"])

		at, again := w.asks(c, "one1", w.body(""))
		assert.Equal(t, "202/?$rid=one1", at, "the same request ID goes on")
		assert.Equal(t, first["correlationId"], again["correlationId"])

		_, body = w.asks(c, "two2", w.body(`,"replace":"three"`))
		assert.Equal(t, 412001.0, body["errorCode"])
		at, _ = w.asks(c, "two2", w.body(`,"replace":"one1"`))
		assert.Equal(t, "202/?$rid=two2", at)
		at, third := w.asks(c, "tri3", w.body(`,"replace":"*"`))
		assert.Equal(t, "202/?$rid=tri3", at)
		at, end := w.hears(c)
		assert.Equal(t, "200/?$rid=tri3", at, "those that were replaced have no end")
		assert.Equal(t, third["correlationId"], end["correlationId"])
		c.silent(20 * time.Minute)
		at, _ = w.asks(c, "next", w.body(""))
		assert.Equal(t, "202/?$rid=next", at, "one after the other is fine")
	})
}

func TestARequestForACertificateOutlivesItsConnection(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		cert := w.issued()
		begin := func(rid string) {
			t.Helper()
			c := w.connected(cert)
			at, _ := w.asks(c, rid, w.body(""))
			require.Equal(t, "202/?$rid="+rid, at)
			c.close()
			time.Sleep(time.Minute) // it is issued meanwhile
		}
		begin("one1")
		c := w.client(cert)
		require.Zero(t, c.connect("mqtt"))
		c.silent(time.Minute)
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		m := c.message()
		assert.Equal(t, "$iothub/credentials/res/200/?$rid=one1", m.TopicName, "after the SUBACK")
		c.close() // before it is acknowledged
		time.Sleep(time.Minute)
		c = w.connected(cert)
		at, _ := w.hears(c)
		assert.Equal(t, "200/?$rid=one1", at, "what was not acknowledged comes again")
		c.close()
		time.Sleep(time.Minute)
		w.connected(cert).silent(time.Minute)

		begin("two2")
		c = w.client(cert)
		require.Zero(t, c.connect("mqtt"))
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		c.message() // not acknowledged
		c.unsubscribe(credentialFilter)
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		at, _ = w.asks(c, "two2", w.body(""))
		assert.Equal(t, "202/?$rid=two2", at)
		at, _ = w.hears(c)
		assert.Equal(t, "200/?$rid=two2", at, "who asks again with the same ID hears it again")

		w.h.Inject(Fault{On: IssueEnd, Delay: 13 * time.Hour})
		w.asks(c, "tri3", w.body(""))
		c.close()
		time.Sleep(12*time.Hour + time.Minute)
		c = w.connected(cert)
		at, _ = w.asks(c, "four", w.body(""))
		assert.Equal(t, "202/?$rid=four", at, "an operation ends when it said it would")
		at, _ = w.hears(c)
		assert.Equal(t, "200/?$rid=four", at)
		c.silent(20 * time.Minute)
	})
}

func TestTheIssuersConfiguration(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		strict := NewIssuer(n, IssuerConfig{DER: true, DocumentedKeys: true})
		require.NoError(t, strict.SetPolicy(renewPolicy))
		_, err := strict.Issue(
			renewPolicy.ID(), "x", csr.Request(t, "dev", csr.Key(t, elliptic.P256())), "dev",
		)
		assert.Equal(t, 400037, codeOf(t, err), "the documents speak of P-384 alone")
		chain, err := strict.Issue(
			"FLEET/ICA1/WEEK", "x", csr.Request(t, "dev", csr.Key(t, elliptic.P384())), "dev",
		)
		require.NoError(t, err)
		der, err := base64.StdEncoding.DecodeString(chain[0])
		require.NoError(t, err)
		_, err = x509.ParseCertificate(der)
		require.NoError(t, err, "DER, not PEM")

		lax := NewIssuer(n, IssuerConfig{})
		state, err := json.Marshal(strict)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(state, lax))
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		require.NoError(t, err)
		other, err := lax.Issue(renewPolicy.ID(), "x", csr.Request(t, "dev", key), "dev")
		require.NoError(t, err)
		assert.Equal(
			t, csr.Chain(t, chain)[1:], csr.Chain(t, other)[1:],
			"the authorities survive a restart",
		)
		text, _ := base64.StdEncoding.DecodeString(other[0])
		assert.Contains(t, string(text), "-----BEGIN CERTIFICATE-----", "PEM by default")
		assert.Error(t, json.Unmarshal([]byte(`{"authorities":{"a/b":{}}}`), lax))

		for _, bad := range []CertificatePolicy{
			{}, {Namespace: "-ab", Authority: "abc", Name: "abc"},
			{Namespace: "abc", Authority: "a_c", Name: "abc"},
			{Namespace: "abc", Authority: "abc", Name: "abc", Validity: -1},
		} {
			assert.Error(t, lax.SetPolicy(bad))
		}
	})
}
