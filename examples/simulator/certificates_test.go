// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/csr"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/internal/sas"
)

const (
	certHub = "hub-a.azure-devices.net"
	certKey = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="
	answers = "$iothub/credentials/res/#"
)

// issuing is a simulator in memory, of a configuration file, and a device with a key.
type issuing struct {
	*simulator
	t   *testing.T
	key *ecdsa.PrivateKey
	out programtest.Output
}

// inIssuing has a device "a" under a policy whose certificates are valid for an hour.
func inIssuing(t *testing.T, hub string, f func(t *testing.T, w *issuing)) {
	synctest.Test(t, func(t *testing.T) {
		cfg := new(config)
		require.NoError(t, decode([]byte(`{
			"hubs": [{"hostName": "`+certHub+`"`+hub+`}],
			"issuer": {"der": true},
			"certificatePolicies": [{
				"namespaceName": "fleet", "certificateAuthorityName": "ica1",
				"certificatePolicyName": "hour", "validity": "1h"
			}],
			"enrollments": [{
				"registrationId": "a", "attestation": {"symmetricKey": {"primaryKey": "`+certKey+`"}},
				"namespaceName": "fleet", "certificateAuthorityName": "ica1",
				"certificatePolicyName": "hour"
			}],
			"limits": {"registrationsPerMinute": 0, "pollsPer10s": 0}
		}`), cfg))
		require.NoError(t, cfg.check())
		w := &issuing{t: t, key: csr.Key(t, elliptic.P256())}
		w.simulator = &simulator{
			config: cfg, network: simnet.ForTest(t), log: newLogger(&w.out),
		}
		w.addDPS()
		require.NoError(t, w.addHubs())
		require.NoError(t, w.setPolicies())
		require.NoError(t, w.enroll())
		f(t, w)
	})
}

// do carries out a step as a file has it.
func (w *issuing) do(text string) error {
	w.t.Helper()
	sc := new(scenario)
	require.NoError(w.t, decode([]byte(`{"steps":[`+text+`]}`), sc))
	require.NoError(w.t, sc.check(w.config.hubNames()))
	return w.carryOut(w.plan(sc)[0])
}

func (w *issuing) must(text string) {
	w.t.Helper()
	require.NoError(w.t, w.do(text), text)
}

// registers is what a device gets of DPS: its status, and its chain as it is written.
func (w *issuing) registers() (state struct {
	Status    string   `json:"status"`
	ErrorCode int      `json:"errorCode"`
	Chain     []string `json:"issuedCertificateChain"`
}) {
	w.t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: w.network.DialContext, TLSClientConfig: w.network.TLSConfig(),
	}}
	defer client.CloseIdleConnections()
	ask := func(method, path, body string) (raw []byte) {
		r, err := http.NewRequest(method, "https://"+w.dps.Endpoint()+"/"+w.dps.IDScope()+
			"/registrations/a/"+path+"?api-version=2026-11-01", strings.NewReader(body))
		require.NoError(w.t, err)
		key, err := base64.StdEncoding.DecodeString(certKey)
		require.NoError(w.t, err)
		r.Header.Set("Authorization", sas.Token(
			w.dps.IDScope()+"/registrations/a", key, time.Now().Add(time.Hour),
		)+"&skn=registration")
		r.Header.Set("Content-Type", "application/json")
		response, err := client.Do(r)
		require.NoError(w.t, err)
		defer response.Body.Close()
		raw, err = io.ReadAll(response.Body)
		require.NoError(w.t, err)
		return raw
	}
	var status struct {
		OperationID       string          `json:"operationId"`
		RegistrationState json.RawMessage `json:"registrationState"`
	}
	raw := ask("PUT", "register", `{"csr":"`+csr.Request(w.t, "a", w.key)+`"}`)
	require.NoError(w.t, json.Unmarshal(raw, &status), "%s", raw)
	time.Sleep(10 * time.Second)
	raw = ask("GET", "operations/"+status.OperationID, "")
	require.NoError(w.t, json.Unmarshal(raw, &status), "%s", raw)
	require.NoError(w.t, json.Unmarshal(status.RegistrationState, &state), "%s", raw)
	return state
}

// certificate is the one of a chain, with the device's key.
func (w *issuing) certificate(encoded []string) tls.Certificate {
	w.t.Helper()
	chain := csr.Chain(w.t, encoded)
	return tls.Certificate{
		Certificate: [][]byte{chain[0].Raw, chain[1].Raw}, PrivateKey: w.key, Leaf: chain[0],
	}
}

// connects is a connection to the hub, and the return code.
func (w *issuing) connects(encoded []string) (net.Conn, byte) {
	w.t.Helper()
	cfg := w.network.TLSConfig()
	cfg.ServerName, cfg.Certificates = certHub, []tls.Certificate{w.certificate(encoded)}
	raw, err := w.network.DialContext(context.Background(), "tcp", certHub+":8883")
	require.NoError(w.t, err)
	nc := tls.Client(raw, cfg)
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier, p.CleanSession = "MQTT", 4, "a", true
	p.UsernameFlag, p.Username = true, certHub+"/a/?api-version=2025-08-01-preview"
	require.NoError(w.t, p.Write(nc))
	ack, err := packets.ReadPacket(nc)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = nc.Close() })
	return nc, ack.(*packets.ConnackPacket).ReturnCode
}

// mayConnect says whether a certificate lets the device in.
func (w *issuing) mayConnect(encoded []string) bool {
	w.t.Helper()
	nc, code := w.connects(encoded)
	_ = nc.Close()
	return code == packets.Accepted
}

// hears is the next answer about a certificate: status and request ID, and the body.
func (w *issuing) hears(nc net.Conn) (at string, body map[string]any) {
	w.t.Helper()
	for {
		p, err := packets.ReadPacket(nc)
		require.NoError(w.t, err)
		if m, ok := p.(*packets.PublishPacket); ok {
			require.NoError(w.t, json.Unmarshal(m.Payload, &body), "%s", m.Payload)
			return strings.TrimPrefix(m.TopicName, strings.TrimSuffix(answers, "#")), body
		}
	}
}

// renews asks the hub for a certificate, and returns what it hears first.
func (w *issuing) renews(nc net.Conn, rid string) (string, map[string]any) {
	w.t.Helper()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName = "$iothub/credentials/POST/issueCertificate/?$rid=" + rid
	p.Payload = []byte(`{"id":"a","csr":"` + csr.Request(w.t, "a", w.key) + `"}`)
	require.NoError(w.t, p.Write(nc))
	return w.hears(nc)
}

func (w *issuing) subscribed(encoded []string) net.Conn {
	w.t.Helper()
	nc, code := w.connects(encoded)
	require.Zero(w.t, code)
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = 1, []string{answers}, []byte{0}
	require.NoError(w.t, p.Write(nc))
	ack, err := packets.ReadPacket(nc)
	require.NoError(w.t, err)
	require.IsType(w.t, &packets.SubackPacket{}, ack)
	return nc
}

func TestAFileConfiguresWhoIssuesCertificatesAndHowLongTheyAreValid(t *testing.T) {
	inIssuing(t, "", func(t *testing.T, w *issuing) {
		chain := w.registers().Chain
		require.Len(t, chain, 3)
		der, err := base64.StdEncoding.DecodeString(chain[0])
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(der)
		require.NoError(t, err, "DER, as the file says")
		assert.WithinDuration(t, w.network.Now().Add(time.Hour), leaf.NotAfter, time.Minute)
		require.True(t, w.mayConnect(chain))
		time.Sleep(time.Hour)
		require.False(t, w.mayConnect(chain), "its hour is over")
	})
}

func TestAHubOfTheFileKnowsNoAuthorityUntilAStepTellsIt(t *testing.T) {
	inIssuing(t, `, "credentialSync": false`, func(t *testing.T, w *issuing) {
		first := w.registers()
		require.Equal(t, "assigned", first.Status, "DPS assigns")
		require.False(t, w.mayConnect(first.Chain), "and the hub refuses")
		w.must(`{"unlink":"` + certHub + `"}`)
		w.must(`{"link":"` + certHub + `"}`)
		require.False(t, w.mayConnect(first.Chain), "to link it again tells it nothing")
		w.must(`{"syncCredentials":"` + certHub + `"}`)
		require.True(t, w.mayConnect(first.Chain))

		w.must(`{"revokeAuthority":{"namespaceName":"fleet","certificateAuthorityName":"ica1"}}`)
		require.True(t, w.mayConnect(first.Chain), "it has not heard of that")
		second := w.registers()
		require.False(t, w.mayConnect(second.Chain))
		w.must(`{"syncCredentials":"` + certHub + `"}`)
		require.True(t, w.mayConnect(second.Chain))
		require.False(t, w.mayConnect(first.Chain))
	})
}

func TestStepsRevokeCertificates(t *testing.T) {
	inIssuing(t, "", func(t *testing.T, w *issuing) {
		chain := w.registers().Chain
		nc, code := w.connects(chain)
		require.Zero(t, code)
		w.must(`{"revokeDevice":{"hub":"` + certHub + `","deviceId":"a"}}`)
		_, err := nc.Read(make([]byte, 1))
		require.Error(t, err, "its connection ends")
		require.False(t, w.mayConnect(chain))
		chain = w.registers().Chain
		require.True(t, w.mayConnect(chain))
		w.must(`{"revokeAuthority":{"namespaceName":"FLEET","certificateAuthorityName":"ica1"}}`)
		require.False(t, w.mayConnect(chain))
		chain = w.registers().Chain
		policy := `{"deletePolicy":{"namespaceName":"fleet","certificateAuthorityName":"ica1",` +
			`"certificatePolicyName":"hour"}}`
		w.must(policy)
		require.True(t, w.mayConnect(chain), "what was issued lives on")
		assert.Equal(t, 400040, w.registers().ErrorCode, "and nothing is issued")

		require.ErrorContains(t, w.do(policy), "no certificate policy fleet/ica1/hour")
		require.ErrorContains(t, w.do(`{"revokeDevice":{"hub":"`+certHub+`","deviceId":"b"}}`),
			"there is no device b at "+certHub)
		require.ErrorContains(t, w.do(`{"revokeAuthority":{"namespaceName":"fleet",`+
			`"certificateAuthorityName":"ica9"}}`), "no certificate authority fleet/ica9")
	})
}

func TestStepsRefuseARenewalWithEveryCode(t *testing.T) {
	inIssuing(t, "", func(t *testing.T, w *issuing) {
		nc := w.subscribed(w.registers().Chain)
		for _, on := range []string{"issueStart", "issueEnd"} {
			for _, code := range []int{
				400001, 400004, 400006, 400037, 400040, 403010, 404001, 409004, 409005, 412001,
				412005, 429002, 429003, 500001, 503001, 503102,
			} {
				for _, wait := range []string{"", `, "retryAfter": "40"`} {
					w.must(`{"hub":{"host":"` + certHub + `","on":"` + on + `","deviceId":"a","code":` +
						strconv.Itoa(code) + wait + `}}`)
					at, body := w.renews(nc, "r1r1")
					if on == "issueEnd" {
						require.Equal(t, "202/?$rid=r1r1", at)
						at, body = w.hears(nc)
					}
					assert.Equal(t, strconv.Itoa(code/1000)+"/?$rid=r1r1", at)
					assert.Equal(t, float64(code), body["errorCode"])
					if wait == "" {
						assert.NotContains(t, body, "retryAfter")
					} else {
						assert.Equal(t, 40.0, body["retryAfter"])
					}
				}
			}
		}
		began := time.Now()
		w.must(`{"hub":{"host":"` + certHub + `","on":"issueEnd","delay":"90s"}}`)
		w.renews(nc, "r2r2")
		at, _ := w.hears(nc)
		assert.Equal(t, "200/?$rid=r2r2", at)
		assert.GreaterOrEqual(t, time.Since(began), 90*time.Second)
		w.must(`{"hub":{"host":"` + certHub + `","on":"issueEnd","noAnswer":true}}`)
		at, _ = w.renews(nc, "r3r3")
		require.Equal(t, "202/?$rid=r3r3", at)
		time.Sleep(13 * time.Minute)
		at, _ = w.renews(nc, "r4r4")
		assert.Equal(t, "202/?$rid=r4r4", at, "nothing came of the one before")
	})
}

// chainsOf are the faults of chains as a file names them, and what is seen of each.
var chainsOf = map[string]func(w *issuing, encoded []string){
	"missing": func(w *issuing, encoded []string) { assert.Empty(w.t, encoded) },
	"otherKey": func(w *issuing, encoded []string) {
		assert.False(w.t, w.key.PublicKey.Equal(w.certificate(encoded).Leaf.PublicKey))
	},
	"expired": func(w *issuing, encoded []string) {
		assert.True(w.t, w.certificate(encoded).Leaf.NotAfter.Before(w.network.Now()))
	},
	"notYetValid": func(w *issuing, encoded []string) {
		assert.True(w.t, w.certificate(encoded).Leaf.NotBefore.After(w.network.Now()))
	},
	"garbage": func(w *issuing, encoded []string) {
		text, err := base64.StdEncoding.DecodeString(encoded[0])
		assert.NoError(w.t, err)
		assert.Equal(w.t, "this is no certificate", string(text))
	},
	"notBase64":         func(w *issuing, encoded []string) { assert.Contains(w.t, encoded, "%") },
	"sevenCertificates": func(w *issuing, encoded []string) { assert.Len(w.t, encoded, 7) },
	"oneMegabyte": func(w *issuing, encoded []string) {
		assert.Greater(w.t, len(csr.Chain(w.t, encoded)[2].Raw), 1<<20)
	},
	"der": func(w *issuing, encoded []string) {
		assert.NotContains(w.t, encoded[0], pemBegins)
	},
	"pem": func(w *issuing, encoded []string) {
		assert.Contains(w.t, encoded[0], pemBegins)
	},
}

// pemBegins is how a PEM text begins in base64.
var pemBegins = base64.StdEncoding.EncodeToString([]byte("-----BEGIN CERT"))

func TestStepsMakeAChainWrongAtDPSAndAtTheHub(t *testing.T) {
	inIssuing(t, "", func(t *testing.T, w *issuing) {
		nc := w.subscribed(w.registers().Chain)
		for name, check := range chainsOf {
			for _, on := range []string{"", `"on":"issue",`} {
				w.must(`{"dps":{` + on + `"registrationId":"a","chain":"` + name + `"}}`)
				state := w.registers()
				require.Equal(t, "assigned", state.Status, name)
				check(w, state.Chain)
			}
			w.must(`{"hub":{"host":"` + certHub + `","on":"issueEnd","chain":"` + name + `"}}`)
			w.renews(nc, "r1r1")
			at, body := w.hears(nc)
			require.Equal(t, "200/?$rid=r1r1", at)
			var encoded []string
			if all, ok := body["certificates"].([]any); ok {
				for _, one := range all {
					encoded = append(encoded, one.(string))
				}
			}
			check(w, encoded)
		}
		w.must(`{"dps":{"on":"issue","code":400040}}`)
		state := w.registers()
		assert.Equal(t, "failed", state.Status)
		assert.Equal(t, 400040, state.ErrorCode)
	})
}

func TestTrustOfAHubThatIsNotInStepSurvivesARestart(t *testing.T) {
	inIssuing(t, `, "credentialSync": false`, func(t *testing.T, w *issuing) {
		chain := w.registers().Chain
		for _, known := range []bool{false, true} {
			if known {
				w.must(`{"syncCredentials":"` + certHub + `"}`)
			}
			var state bytes.Buffer
			require.NoError(t, w.dps.Save(&state))
			w.hubs = nil
			w.addDPS()
			require.NoError(t, w.addHubs())
			require.NoError(t, w.dps.Load(&state))
			require.NoError(t, w.setPolicies())
			require.Equal(t, known, w.mayConnect(chain))
		}
	})
}
