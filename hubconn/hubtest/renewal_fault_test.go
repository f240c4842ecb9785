// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/csr"
)

// renewalCodes are all that a device can be refused with.
var renewalCodes = []int{
	400001, 400004, 400006, 400037, 400040, 403010, 404001, 409004, 409005, 412001, 412005, 429002,
	429003, 500001, 503001, 503102,
}

func TestEveryCodeOfARenewalIsToldOnDemandBeforeAndAfterThe202(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		c := w.connected(w.issued())
		for _, on := range []Stage{IssueStart, IssueEnd} {
			for _, code := range renewalCodes {
				for _, wait := range []string{"", "30"} {
					w.h.Inject(Fault{On: on, Code: code, RetryAfter: wait, Message: "no"})
					at, body := w.asks(c, "r1r1", w.body(""))
					if on == IssueEnd {
						require.Equal(t, "202/?$rid=r1r1", at)
						at, body = w.hears(c)
					}
					assert.Equal(t, strconv.Itoa(code/1000)+"/?$rid=r1r1", at)
					assert.Equal(t, float64(code), body["errorCode"])
					assert.Equal(t, "no", body["message"])
					if wait == "" {
						assert.NotContains(t, body, "retryAfter")
					} else {
						assert.Equal(t, 30.0, body["retryAfter"])
					}
					info, _ := body["info"].(map[string]any)
					if on == IssueStart {
						assert.Nil(t, info)
						continue
					}
					assert.Equal(t, "r1r1", info["requestId"])
					assert.NotEmpty(t, info["correlationId"])
					assert.NotEmpty(t, info["operationExpires"])
					if code/1000 == 400 {
						assert.Equal(t, "400000", info["credentialError"])
						assert.Equal(t, "no", info["credentialMessage"])
					} else {
						assert.NotContains(t, info, "credentialError")
					}
				}
			}
		}
		at, _ := w.asks(c, "r1r1", w.body(""))
		assert.Equal(t, "202/?$rid=r1r1", at, "what was refused is over")
	})
}

func TestResponsesOfARenewalAreLost(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		cert := w.issued()
		c := w.connected(cert)
		w.h.Inject(Fault{On: IssueStart, NoAnswer: true})
		c.publish(renewTopic+"r2r2", 0, 0, w.body(""))
		c.silent(20 * time.Minute)
		w.h.Inject(Fault{On: IssueStart, NoAnswer: true, Stored: true})
		c.publish(renewTopic+"r2r2", 0, 0, w.body(""))
		at, _ := w.hears(c)
		assert.Equal(t, "200/?$rid=r2r2", at, "the 202 was lost")

		w.h.Inject(Fault{On: IssueEnd, NoAnswer: true})
		w.asks(c, "r4r4", w.body(""))
		c.silent(20 * time.Minute)
		at, _ = w.asks(c, "r5r5", w.body(""))
		assert.Equal(t, "202/?$rid=r5r5", at, "the lost one is over")
		w.hears(c)
		for _, end := range []Fault{{Cut: true}, {Close: true}, {Stall: true}} {
			end.On = IssueEnd
			w.h.Inject(end)
			w.asks(c, "r6r6", w.body(""))
			if end.Stall {
				c.silent(20 * time.Minute)
			} else {
				c.ended()
			}
			c = w.connected(cert)
			at, _ = w.hears(c)
			assert.Equal(t, "200/?$rid=r6r6", at, "%+v", end)
		}

		require.True(t, w.issuer.DeletePolicy(renewPolicy.ID()))
		assert.False(t, w.issuer.DeletePolicy(renewPolicy.ID()))
		w.asks(c, "r7r7", w.body(""))
		_, body := w.hears(c)
		assert.Equal(t, 400040.0, body["errorCode"], "nothing is issued under a deleted policy")
		c.close()
		require.Zero(t, w.client(cert).connect("mqtt"), "what was issued before lives on")
	})
}

// chainFaulty is the chain of a request that ends with something wrong, as the hub wrote it.
func (w *renewing) chainFaulty(c *client, wrong ChainFault) map[string]any {
	w.t.Helper()
	w.h.Inject(Fault{On: IssueEnd, Chain: wrong})
	at, _ := w.asks(c, "r1r1", w.body(""))
	require.Equal(w.t, "202/?$rid=r1r1", at)
	at, body := w.hears(c)
	require.Equal(w.t, "200/?$rid=r1r1", at)
	return body
}

func elements(body map[string]any) (encoded []string) {
	for _, one := range body["certificates"].([]any) {
		encoded = append(encoded, one.(string))
	}
	return encoded
}

func TestAChainIsWrongOnDemand(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		c := w.connected(w.issued())
		assert.NotContains(t, w.chainFaulty(c, ChainMissing), "certificates")
		for _, wrong := range []ChainFault{ChainGarbage, ChainNotBase64} {
			encoded := elements(w.chainFaulty(c, wrong))
			require.Len(t, encoded, 3, wrong)
			for _, one := range encoded {
				der, err := decodeElement(one)
				assert.Equal(t, wrong == ChainNotBase64, err != nil, "%s: %v", wrong, err)
				_, err = x509.ParseCertificate(der)
				assert.Error(t, err, wrong)
			}
		}
		now := w.h.network.Now
		for wrong, check := range map[ChainFault]func(chain []*x509.Certificate, encoded []string){
			ChainOtherKey: func(chain []*x509.Certificate, _ []string) {
				assert.False(t, w.key.PublicKey.Equal(chain[0].PublicKey))
			},
			ChainExpired: func(chain []*x509.Certificate, encoded []string) {
				assert.WithinDuration(t, now().Add(-time.Minute), chain[0].NotAfter, 2*time.Second)
				assert.Equal(t, renewPolicy.Validity, chain[0].NotAfter.Sub(chain[0].NotBefore))
				require.Equal(t, byte(5), w.client(w.pair(encoded)).connect("mqtt"))
				assert.Contains(t, last(t, w.h).Reason, "not valid at this time")
			},
			ChainNotYetValid: func(chain []*x509.Certificate, encoded []string) {
				require.Equal(t, byte(5), w.client(w.pair(encoded)).connect("mqtt"))
				assert.Contains(t, last(t, w.h).Reason, "not valid at this time")
				assert.Equal(t, renewPolicy.Validity, chain[0].NotAfter.Sub(chain[0].NotBefore))
				time.Sleep(24*time.Hour + time.Second)
				later := w.client(w.pair(encoded))
				require.Zero(t, later.connect("mqtt"), "its time has come")
				later.close()
			},
			ChainLong: func(chain []*x509.Certificate, _ []string) {
				require.Len(t, chain, 7)
				assert.Equal(t, chain[2], chain[6])
			},
			ChainHuge: func(chain []*x509.Certificate, encoded []string) {
				require.Len(t, chain, 3)
				assert.Greater(t, len(encoded[2]), 1<<20)
			},
			ChainDER: func(_ []*x509.Certificate, encoded []string) {
				der, err := decodeElement(encoded[0])
				require.NoError(t, err)
				assert.NotContains(t, string(der), "-----BEGIN")
			},
			ChainPEM: func(_ []*x509.Certificate, encoded []string) {
				text, err := decodeElement(encoded[0])
				require.NoError(t, err)
				assert.Contains(t, string(text), "-----BEGIN")
			},
		} {
			c = w.connected(w.issued()) // one of them took the connection, or a day
			encoded := elements(w.chainFaulty(c, wrong))
			chain := csr.Chain(t, encoded)
			for n := range 2 {
				require.NoError(t, chain[n].CheckSignatureFrom(chain[n+1]), "%s", wrong)
			}
			check(chain, encoded)
		}
	})
}

func TestChainsAreWrittenAsTheFaultSaysWhateverTheIssuerDoes(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		for _, der := range []bool{false, true} {
			i := NewIssuer(n, IssuerConfig{DER: der})
			require.NoError(t, i.SetPolicy(renewPolicy))
			request := csr.Request(t, "dev1", csr.Key(t, elliptic.P256()))
			for wrong, isPEM := range map[ChainFault]bool{
				"": !der, ChainDER: false, ChainPEM: true,
			} {
				chain, err := i.IssueFaulty(wrong, renewPolicy.ID(), "id", request, "dev1")
				require.NoError(t, err)
				text, err := decodeElement(chain[0])
				require.NoError(t, err)
				block, _ := pem.Decode(text)
				assert.Equal(t, isPEM, block != nil, "%v %q", der, wrong)
			}
			_, err := i.IssueFaulty("exspired", renewPolicy.ID(), "id", request, "dev1")
			assert.ErrorContains(t, err, `"exspired" is unknown: use missing, otherKey, expired`)
			_, err = i.IssueFaulty(ChainMissing, renewPolicy.ID(), "id", request, "dev2")
			assert.Equal(t, 400004, codeOf(t, err), "a wrong request is refused all the same")
		}
		var f Fault
		assert.Error(t, json.Unmarshal([]byte(`{"chain":"exspired"}`), &f))
		require.NoError(t, json.Unmarshal([]byte(`{"on":"issueEnd","chain":"otherKey"}`), &f))
		assert.Equal(t, Fault{On: IssueEnd, Chain: ChainOtherKey}, f)
	})
}

func TestAPersistentSessionHearsTheEndOfARequestWithoutSubscribingAgain(t *testing.T) {
	inRenewal(t, func(t *testing.T, w *renewing) {
		cert := w.issued()
		reconnect := func(clean bool) *client {
			c := w.client(cert)
			c.clean = clean
			require.Zero(t, c.connect("mqtt"))
			return c
		}
		c := reconnect(false)
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		for _, qos := range []byte{1, 0} {
			require.Equal(t, []byte{qos}, c.subscribeAt(qos, credentialFilter))
			at, _ := w.asks(c, "one1", w.body(""))
			require.Equal(t, "202/?$rid=one1", at)
			c.close()
			time.Sleep(time.Minute) // it is issued while the device is away
			c = reconnect(false)
			require.True(t, c.present)
			at, end := w.hears(c)
			assert.Equal(t, "200/?$rid=one1", at)
			assert.Len(t, end["certificates"], 3)
		}
		w.asks(c, "two2", w.body(""))
		c.close()
		time.Sleep(time.Minute)
		c = reconnect(true)
		require.False(t, c.present)
		c.silent(time.Minute)
		require.Equal(t, []byte{1}, c.subscribeAt(1, credentialFilter))
		at, _ := w.hears(c)
		assert.Equal(t, "200/?$rid=two2", at, "a clean session has to subscribe again")
	})
}

// decodeElement takes the base64 off an element of a chain.
func decodeElement(text string) ([]byte, error) { return base64.StdEncoding.DecodeString(text) }
