// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/sas"
)

// operator is an operator's tool: it speaks the service REST API, of the provisioning service or of
// a hub, over raw net/http.
type operator struct {
	t       *testing.T
	client  *http.Client
	host    string
	version string
	token   string
	header  http.Header // of the last answer
}

// operator reads a connection string as the SDKs do.
func (w *world) operator(connectionString, version string) *operator {
	fields := map[string]string{}
	for field := range strings.SplitSeq(connectionString, ";") {
		name, value, _ := strings.Cut(field, "=")
		fields[name] = value
	}
	return &operator{t: w.t, host: fields["HostName"], version: version,
		token: ownerToken(
			fields["HostName"], fields["SharedAccessKeyName"], fields["SharedAccessKey"],
			time.Now().Add(time.Hour),
		), client: &http.Client{Transport: &http.Transport{
			DialContext: w.net.DialContext, TLSClientConfig: w.net.TLSConfig(),
			DisableKeepAlives: true,
		}},
	}
}

func (w *world) service() *operator {
	return w.operator(w.dps.ServiceConnectionString(), "2021-10-01")
}

func ownerToken(resource, policy, key string, expiry time.Time) string {
	raw, _ := base64.StdEncoding.DecodeString(key)
	return sas.Token(resource, raw, expiry) + "&skn=" + policy
}

// do sends a request; headers come in pairs. The body is marshalled unless it is a string.
func (o *operator) do(
	method, path string, body any, headers ...string,
) (status int, answer []byte) {
	o.t.Helper()
	var data []byte
	switch b := body.(type) {
	case nil:
	case string:
		data = []byte(b)
	default:
		var err error
		data, err = json.Marshal(b)
		require.NoError(o.t, err)
	}
	query := "?api-version=" + o.version
	if o.version == "" {
		query = ""
	}
	r, err := http.NewRequest(method, "https://"+o.host+path+query, bytes.NewReader(data))
	require.NoError(o.t, err)
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	if o.token != "" {
		r.Header.Set("Authorization", o.token)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := o.client.Do(r)
	require.NoError(o.t, err)
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	require.NoError(o.t, err)
	o.header = res.Header
	return res.StatusCode, answer
}

// must sends a request that succeeds, and returns the response's members.
func (o *operator) must(method, path string, body any, headers ...string) map[string]any {
	o.t.Helper()
	status, answer := o.do(method, path, body, headers...)
	require.Less(o.t, status, 300, "%s", answer)
	if len(answer) == 0 {
		return nil
	}
	return members(o.t, answer)
}

// refused sends a request that fails, and returns the error code.
func (o *operator) refused(want int, method, path string, body any, headers ...string) int {
	o.t.Helper()
	status, answer := o.do(method, path, body, headers...)
	require.Equal(o.t, want, status, "%s", answer)
	m := members(o.t, answer)
	require.NotEmpty(o.t, m["message"])
	require.NotEmpty(o.t, m["timestampUtc"])
	require.Equal(o.t, o.header.Get("x-ms-request-id"), m["trackingId"])
	code := int(m["errorCode"].(float64))
	require.Equal(o.t, want, code/1000)
	return code
}

// document is JSON being written.
type document = map[string]any

func symmetric(id string, more ...document) document {
	d := document{
		"registrationId": id,
		"attestation": document{"type": "symmetricKey", "symmetricKey": document{
			"primaryKey": key1, "secondaryKey": key2,
		}},
	}
	for _, m := range more {
		for k, v := range m {
			d[k] = v
		}
	}
	return d
}
