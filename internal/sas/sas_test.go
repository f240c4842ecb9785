// SPDX-License-Identifier: Apache-2.0

package sas_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/sas"
)

var (
	key     = []byte("a key of thirty-two bytes, truly")
	expiry  = time.Unix(1767225600, 0)
	address = "0ne00000001/registrations/sensor-042"
)

// The published example of Azure docs, "Symmetric key attestation", group enrollments.
func TestDeriveKeyMatchesThePublishedExample(t *testing.T) {
	group, err := base64.StdEncoding.DecodeString(
		"8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
	)
	require.NoError(t, err)
	derived := sas.DeriveKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	assert.Equal(
		t, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
		base64.StdEncoding.EncodeToString(derived),
	)
}

func TestTokenIsWrittenAsTheServiceDocumentsIt(t *testing.T) {
	token := sas.Token(address, key, expiry)
	sr := "0ne00000001%2Fregistrations%2Fsensor-042"
	assert.True(t, strings.HasPrefix(token, "SharedAccessSignature sr="+sr+"&sig="), token)
	assert.True(t, strings.HasSuffix(token, "&se=1767225600"), token)
	_, rest, _ := strings.Cut(token, "&sig=")
	escaped, _, _ := strings.Cut(rest, "&")
	sig, err := url.QueryUnescape(escaped)
	require.NoError(t, err)
	// echo -en "0ne00000001%2Fregistrations%2Fsensor-042\n1767225600" | openssl dgst -sha256 -hmac
	// "$key"
	raw, err := base64.StdEncoding.DecodeString(sig)
	require.NoError(t, err)
	assert.Equal(
		t, "383603632c46a50e205f7f62aede3a057c942504c7ad90a62429d652b862ac86",
		hex.EncodeToString(raw),
	)
}

func TestTokenCarriesNothingThatAQueryWouldMisread(t *testing.T) {
	for i := range 200 { // signatures with plus, slash and equals signs among them
		token := sas.Token(fmt.Sprintf("hub/devices/d %d+&=%%", i), key, expiry)
		_, fields, _ := strings.Cut(token, " ")
		assert.Equal(t, 2, strings.Count(fields, "&"), token)
		assert.NotContains(t, fields, "+")
		values, err := url.ParseQuery(fields)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("hub/devices/d %d+&=%%", i), values.Get("sr"))
	}
}

func TestTokenIsReadBack(t *testing.T) {
	for _, resource := range []string{
		address, "hub.azure-devices.net/devices/dev:1", "a b+c%2f&=é", "/",
	} {
		s, err := sas.Parse(sas.Token(resource, key, expiry.Add(999*time.Millisecond)))
		require.NoError(t, err)
		assert.Equal(t, resource, s.Resource)
		assert.Equal(t, expiry, s.Expiry, "cut to the second")
		assert.Empty(t, s.KeyName)
		assert.True(t, s.Verify(key))
	}
}

// sign writes a token field by field, as other clients do.
func sign(sr, se string) (sig string) {
	// DeriveKey is plain HMAC-SHA256, which is what a signature is.
	return base64.StdEncoding.EncodeToString(sas.DeriveKey(key, sr+"\n"+se))
}

func TestTokensOfTheOfficialClientsVerify(t *testing.T) {
	const upper, lower = "0ne00000001%2Fregistrations%2Fsensor-042",
		"0ne00000001%2fregistrations%2fsensor-042"
	se := "1767225600"
	esc := url.QueryEscape
	tests := map[string]struct{ token, keyName string }{
		"Python, no key name":        {"SharedAccessSignature sr=" + upper + "&sig=" + esc(sign(upper, se)) + "&se=" + se, ""},
		"C, lower-case escapes":      {"SharedAccessSignature sr=" + lower + "&sig=" + lowerEscapes(sign(lower, se)) + "&se=" + se + "&skn=registration", "registration"},
		"Java, nothing escaped":      {"SharedAccessSignature sr=" + address + "&sig=" + esc(sign(address, se)) + "&se=" + se + "&skn=", ""},
		"docs, another order":        {"SharedAccessSignature sig=" + esc(sign(upper, se)) + "&se=" + se + "&skn=registration&sr=" + upper, "registration"},
		"signature not escaped":      {"SharedAccessSignature sr=" + upper + "&sig=" + sign(upper, se) + "&se=" + se, ""},
		"scheme in another case":     {"sharedaccesssignature sr=" + upper + "&sig=" + esc(sign(upper, se)) + "&se=" + se, ""},
		"a field nobody knows":       {"SharedAccessSignature sr=" + upper + "&sig=" + esc(sign(upper, se)) + "&se=" + se + "&x=1&y", ""},
		"blanks around, as from env": {" SharedAccessSignature  sr=" + upper + "&sig=" + esc(sign(upper, se)) + "&se=" + se + "\n", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := sas.Parse(test.token)
			require.NoError(t, err)
			assert.Equal(t, address, s.Resource)
			assert.Equal(t, expiry, s.Expiry)
			assert.Equal(t, test.keyName, s.KeyName)
			assert.True(t, s.Verify(key))
			assert.False(t, s.Verify([]byte("another key")))
		})
	}
}

func lowerEscapes(s string) string {
	return strings.NewReplacer("+", "%2b", "/", "%2f", "=", "%3d").Replace(s)
}

func TestAnyChangeBreaksTheSignature(t *testing.T) {
	token := sas.Token(address, key, expiry)
	changed := map[string]string{
		"resource":        strings.Replace(token, "sensor-042", "sensor-043", 1),
		"escapes of it":   strings.ReplaceAll(token, "%2Fregistrations", "%2fregistrations"),
		"expiry":          strings.Replace(token, "se=1767225600", "se=1767225601", 1),
		"zeros before it": strings.Replace(token, "se=1767225600", "se=01767225600", 1),
		"signature":       sas.Token(address, []byte("another key"), expiry),
		"no signature":    "SharedAccessSignature sr=a&sig=AAAA&se=1767225600",
	}
	for name, token := range changed {
		s, err := sas.Parse(token)
		require.NoError(t, err, name)
		assert.False(t, s.Verify(key), name)
	}
}

func TestEmptyKeyVerifiesNothing(t *testing.T) {
	s, err := sas.Parse(sas.Token(address, nil, expiry))
	require.NoError(t, err)
	assert.False(t, s.Verify(nil))
	assert.False(t, s.Verify([]byte{}))
}

func TestMalformedTokenIsOneLineWithoutItsSecret(t *testing.T) {
	const secret = "c2VjcmV0LXNpZ25hdHVyZQ=="
	tests := map[string]struct{ token, want string }{
		"empty":             {"", "sas token does not begin with SharedAccessSignature"},
		"scheme alone":      {"SharedAccessSignature", "sas token does not begin with SharedAccessSignature"},
		"another scheme":    {"Bearer " + secret, "sas token does not begin with SharedAccessSignature"},
		"scheme and blanks": {"SharedAccessSignature   ", "sas token does not begin with SharedAccessSignature"},
		"no resource":       {"SharedAccessSignature sig=" + secret + "&se=1", "sas token: sr is missing"},
		"empty resource":    {"SharedAccessSignature sr=&sig=" + secret + "&se=1", "sas token: sr is missing"},
		"no signature":      {"SharedAccessSignature sr=a&se=1", "sas token: sig is missing"},
		"no expiry":         {"SharedAccessSignature sr=a&sig=" + secret, "sas token: se is missing"},
		"resource twice":    {"SharedAccessSignature sr=a&sr=b&sig=" + secret + "&se=1", "sas token: sr is given twice"},
		"key name twice":    {"SharedAccessSignature sr=a&sig=" + secret + "&se=1&skn=&skn=", "sas token: skn is given twice"},
		"resource escapes":  {"SharedAccessSignature sr=a%2&sig=" + secret + "&se=1", "sas token: sr is not percent-encoded"},
		"key name escapes":  {"SharedAccessSignature sr=a&sig=" + secret + "&se=1&skn=%", "sas token: skn is not percent-encoded"},
		"signature escapes": {"SharedAccessSignature sr=a&sig=%zz" + secret + "&se=1", "sas token: sig is not percent-encoded"},
		"not base64":        {"SharedAccessSignature sr=a&sig=!" + secret + "&se=1", "sas token: sig is not base64"},
		"expiry a date":     {"SharedAccessSignature sr=a&sig=" + secret + "&se=2026-01-01", "sas token: se is not a time in unix seconds"},
		"expiry negative":   {"SharedAccessSignature sr=a&sig=" + secret + "&se=-1", "sas token: se is not a time in unix seconds"},
		"expiry signed":     {"SharedAccessSignature sr=a&sig=" + secret + "&se=+1", "sas token: se is not a time in unix seconds"},
		"expiry a fraction": {"SharedAccessSignature sr=a&sig=" + secret + "&se=1.5", "sas token: se is not a time in unix seconds"},
		"expiry endless":    {"SharedAccessSignature sr=a&sig=" + secret + "&se=9223372036854775807", "sas token: se is not a time in unix seconds"},
		"expiry overflows":  {"SharedAccessSignature sr=a&sig=" + secret + "&se=18446744073709551617", "sas token: se is not a time in unix seconds"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := sas.Parse(test.token)
			assert.Nil(t, s)
			assert.EqualError(t, err, test.want)
			assert.NotContains(t, err.Error(), secret)
		})
	}
}

func TestFormattingShowsNoSignature(t *testing.T) {
	s, err := sas.Parse(sas.Token(address, key, expiry) + "&skn=registration")
	require.NoError(t, err)
	mac := sas.DeriveKey(key, url.QueryEscape(address)+"\n1767225600")
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "s", s, "v", *s)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "s", s, "v", *s)
	marshalled, err := json.Marshal(s)
	require.NoError(t, err)
	out := fmt.Sprintf(
		"%v %+v %#v %s %q %d %x %X %v %#v %x", s, s, s, s, s, s, s, s, *s, *s, *s,
	) + log.String() + string(marshalled)
	assert.Contains(
		t, out,
		`sas token for "0ne00000001/registrations/sensor-042" until 2026-01-01T00:00:00Z by "registration"`,
	)
	for _, shown := range []string{
		base64.StdEncoding.EncodeToString(mac), hex.EncodeToString(mac),
		strings.ToUpper(hex.EncodeToString(mac)), strings.Trim(fmt.Sprint(mac), "[]"),
	} {
		assert.NotContains(t, out, shown)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sas.Token(address, key, expiry))
	f.Add(sas.Token(address, key, expiry) + "&skn=registration")
	f.Add("SharedAccessSignature sig=AA==&se=1&sr=a/b&skn=")
	f.Add("SharedAccessSignature sr=%2f&sig=%2B&se=99999999999999999999")
	f.Add("SharedAccessSignature ")
	f.Fuzz(func(t *testing.T, token string) {
		s, err := sas.Parse(token)
		if (s == nil) == (err == nil) {
			t.Fatalf("%v with error %v", s, err)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") {
				t.Errorf("more than one line: %q", err)
			}
			return
		}
		if strings.ContainsAny(s.String(), "\r\n") {
			t.Errorf("more than one line: %q", s)
		}
		if s.Verify([]byte("a key that signed nothing")) {
			t.Errorf("%q verifies", token)
		}
		// What was read can be signed anew, and that verifies.
		again, err := sas.Parse(sas.Token(s.Resource, key, s.Expiry))
		if err != nil || again.Resource != s.Resource || !again.Expiry.Equal(s.Expiry) ||
			!again.Verify(key) {
			t.Errorf("%q does not survive: %v, %v", token, again, err)
		}
	})
}
