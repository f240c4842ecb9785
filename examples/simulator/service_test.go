// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// service is an operator's request to a hub, or to DPS (""), with the keys of the ready line.
func (p *program) service(
	t testing.TB, hub, method, path, body string, header ...string,
) string {
	t.Helper()
	connection := p.ServiceConnectionString
	if hub != "" {
		connection = p.HubConnectionStrings[hub]
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(connection, ";") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	host := parts["HostName"]
	raw, err := base64.StdEncoding.DecodeString(parts["SharedAccessKey"])
	require.NoError(t, err)
	expiry := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	mac := hmac.New(sha256.New, raw)
	_, _ = mac.Write([]byte(host + "\n" + expiry))
	token := fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%s&skn=%s", host,
		url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil))), expiry,
		parts["SharedAccessKeyName"])
	r, err := http.NewRequestWithContext(
		t.Context(), method, "https://"+host+path+"?api-version=2021-10-01", strings.NewReader(body),
	)
	require.NoError(t, err)
	r.Header.Set("Authorization", token)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	transport := &http.Transport{TLSClientConfig: p.trust(t), DialContext: p.dial}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Less(t, response.StatusCode, 300, "%s %s: %s", method, path, text)
	return string(text)
}
