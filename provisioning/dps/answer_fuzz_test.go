// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// speaker is a server with a valid certificate that answers every request with the same bytes, over
// real TLS, so that a whole exchange of the client reads them.
type speaker struct {
	now    time.Time
	server tls.Certificate
	trust  *tls.Config
}

const speakerName = "dps.example.net"

var speakerKey = base64.StdEncoding.EncodeToString([]byte("canary-key-0123456789-canary-key"))

func newSpeaker() *speaker {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ca := simnet.NewCA("Fuzz", now)
	return &speaker{now: now, server: ca.Server(speakerName), trust: &tls.Config{
		RootCAs: ca.Pool(), Time: func() time.Time { return now },
		CurvePreferences: []tls.CurveID{tls.CurveP256},
	}}
}

// client is one that reaches nothing but the speaker. asked gets the requests.
func (s *speaker) client(said []byte, asked chan<- *http.Request) *dps.Client {
	return &dps.Client{
		IDScope: "0ne00000001", Endpoint: speakerName, TLSConfig: s.trust, Proxy: clientNoProxy,
		Attestation: dps.SymmetricKey{ID: clientID, Key: speakerKey},
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := memnet.Pipe("device:1", speakerName+":443")
			go func() {
				defer far.Close()
				nc := tls.Server(far, &tls.Config{
					Certificates: []tls.Certificate{s.server}, Time: s.trust.Time,
				})
				r, err := http.ReadRequest(bufio.NewReader(nc))
				if err != nil {
					return
				}
				select {
				case asked <- r:
				default:
				}
				_, _ = nc.Write(said)
				_ = nc.Close()
			}()
			return near, nil
		},
	}
}

// told is the error of an exchange: one line, with no credential, that somebody else than the
// service cannot make the end of the device's registration. asked is the request that showed one.
func told(t *testing.T, op string, asked *http.Request, err error) *dps.Error {
	e, ok := errors.AsType[*dps.Error](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, op, e.Op)
	text := err.Error()
	assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
	assert.Less(t, len(text), 2000)
	assert.NotContains(t, text, speakerKey)
	if _, sig, signed := strings.Cut(asked.Header.Get("Authorization"), "&sig="); signed {
		assert.NotContains(t, text, sig[:8])
	}
	assert.GreaterOrEqual(t, retry.After(err), time.Duration(0))
	if !e.Answered() {
		assert.Equal(t, retry.Wait, retry.Classify(err))
		assert.Zero(t, e.Date, "nobody else's clock")
	}
	return e
}

// Whatever comes back when the device asks for the time, it is the Date of that answer, within the
// validity of the server's certificate and not of a proxy's own making; or there is one clear
// error. The question shows no credential.
func FuzzTimeAnswer(f *testing.F) {
	s := newSpeaker()
	const head = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
	for _, lines := range []string{
		"Date: Sun, 01 Mar 2026 12:00:07 GMT\r\n", "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
		"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n", "Date: Sunday, 01-Mar-26 12:00:07 GMT\r\n",
		"Date: soon\r\n", "", "Date: Sun, 01 Mar 2026 12:00:07 GMT\r\nProxy-Agent: site\r\n",
		"Date: Sun, 01 Mar 2026 12:00:07 GMT\r\nProxy-Agent: site\r\nx-ms-request-id: 1\r\n",
		"Date: Sun, 01 Mar 2026 12:00:07 GMT\r\nDate: Mon, 02 Mar 2026 12:00:07 GMT\r\n",
	} {
		f.Add([]byte(head + lines + "\r\n"))
	}
	for _, lines := range []string{
		"429 Slow\r\nRetry-After: 60\r\n", "429 Slow\r\nRetry-After: 60\r\nx-ms-request-id: 1\r\n",
		"503 No\r\nRetry-After: Sun, 01 Mar 2026 12:00:09 GMT\r\n",
		"500 No\r\nx-ms-request-id: 1\r\n", "999 \r\n",
	} {
		f.Add([]byte("HTTP/1.1 " + lines + "Date: Sun, 01 Mar 2026 12:00:07 GMT\r\n\r\n"))
	}
	f.Add([]byte("HTTP/1.1 000 \r\nDate: Sunday, 01-Mar-26 12:00:07 EST\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 511 No\r\nDate: Sun, 01 Mar 2026 12:00:07 GMT\r\n\r\n<html>"))
	f.Add([]byte("HTTP/1.1 103 \r\n\r\n" + head + "Date: Sun, 01 Mar 2026 12:00:07 GMT\r\n\r\n"))
	leaf := s.server.Leaf
	f.Fuzz(func(t *testing.T, said []byte) {
		asked := make(chan *http.Request, 2)
		at, err := s.client(said, asked).Time(t.Context())
		r := <-asked
		assert.Equal(t, http.MethodHead, r.Method)
		assert.Empty(t, r.Header.Get("Authorization"))
		assert.NotContains(t, r.URL.String(), clientID)
		if err != nil {
			e := told(t, "time", r, err)
			assert.Equal(t, e.Status == 0, at.IsZero(), "what tells the time has a status: %v", err)
			if e.Status == 0 {
				return
			}
			assert.True(t, e.Status == http.StatusTooManyRequests || e.Status >= 500, "%v", err)
		}
		assert.False(t, at.Before(leaf.NotBefore) || at.After(leaf.NotAfter), "%v", at)
		answer := readAnswer(t, said)
		date, err := http.ParseTime(answer.Header.Get("Date"))
		require.NoError(t, err)
		assert.True(t, date.Equal(at), "%v", at)
		if answer.Header.Get("X-Ms-Request-Id") == "" {
			assert.NotContains(t, []int{407, 511}, answer.StatusCode)
			for name := range answer.Header {
				assert.False(t, strings.HasPrefix(name, "Proxy-"), name)
			}
		}
	})
}

// readAnswer is the final response among bytes that have been taken for one.
func readAnswer(t *testing.T, said []byte) *http.Response {
	reader := bufio.NewReader(bytes.NewReader(said))
	for {
		answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodHead})
		require.NoError(t, err)
		if answer.StatusCode/100 != 1 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer
		}
	}
}

// Whatever comes back from a status lookup, it is a whole assignment, or one clear error.
func FuzzLookupAnswer(f *testing.F) {
	s := newSpeaker()
	for _, answer := range []string{
		"200 OK\r\nx-ms-request-id: 1\r\n\r\n" + `{"registrationId":"sensor-042","assignedHub":` +
			`"hub-a.azure-devices.net","deviceId":"d","status":"assigned","substatus":` +
			`"initialAssignment","payload":{"a":1},"etag":"x","lastUpdatedDateTimeUtc":"2026"}`,
		"200 OK\r\n\r\n" + `{"assignedHub":"a.example/b","deviceId":"d","status":"assigned"}`,
		"200 OK\r\n\r\n" + `{"status":"disabled","errorCode":401,"errorMessage":"a\u0000b"}`,
		"200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b",
		"200 OK\r\n\r\n" + `{"status":"unassigned"}`,
		"404 No\r\n\r\n" + `{"errorCode":404201,"trackingId":"t","message":"m"}`,
		"404 No\r\n\r\n<html>",
		"429 Slow\r\nRetry-After: 99999999999999\r\nDate: Sun, 01 Mar 2026 12:00:07 GMT\r\n\r\n{}",
		"401 \r\nContent-Length: 5\r\n\r\n{",
		"302 \r\nLocation: https://elsewhere.example/\r\n\r\n",
		"000 \r\nx-ms-request-id: 1\r\nDate: Sun, 01 Mar 2026 12:00:07 GMT\r\n\r\n{}",
		"200 OK\r\n\r\n" + `{"assignedHub":"a.example","deviceId":"d#?\\","status":"assigned"}`,
		"200 OK\r\n\r\n" + `{"assignedHub":"a","deviceId":"d","status":"assigned"}`,
		"401 \r\n\r\n" + `{"errorCode":401002,"message":"\u0053haredAccessSignature"}`,
	} {
		f.Add([]byte("HTTP/1.1 " + answer))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		asked := make(chan *http.Request, 2)
		assignment, err := s.client(said, asked).Lookup(t.Context())
		r := <-asked
		assert.Equal(t, http.MethodPost, r.Method)
		assert.Empty(t, asked, "one request, wherever an answer points")
		if err != nil {
			assert.Zero(t, assignment)
			e := told(t, "lookup", r, err)
			if e.Verdict() == retry.Register {
				assert.True(t, e.Status == http.StatusNotFound || e.State == "unassigned" ||
					e.Code == 404203, "%v", err)
			}
			return
		}
		assert.Equal(t, clientID, assignment.RegistrationID)
		assert.Equal(t, dps.StatusAssigned, assignment.Status)
		assert.Empty(t, assignment.IssuedChain)
		assert.NotEmpty(t, assignment.Hub)
		assert.False(t, strings.ContainsAny(assignment.Hub, "/\\?#:@[] \r\n\x00"), "%q",
			assignment.Hub)
		assert.NotEmpty(t, assignment.DeviceID)
		assert.False(t, strings.ContainsAny(assignment.DeviceID, "/ \r\n\x00"), "%q",
			assignment.DeviceID) // a hub allows the characters of URLs and topic filters in it
		assert.LessOrEqual(t, len(assignment.DeviceID), 128)
		assert.LessOrEqual(t, len(assignment.Payload), 128<<10)
	})
}
