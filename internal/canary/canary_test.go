// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const innocent = "=== RUN   TestSomething\n    time=2000-01-01T00:00:03Z level=INFO " +
	"msg=connected hub=hub-a.azure-devices.net\n" + "sig= canary, kanari-bird 63616e6172 " +
	"SharedAccessSignature is a scheme\nok  \tgithub.com/rehome-iot/rehome/provisioning\t1.5s\n"

func TestKeyIsFoundInWhicheverFormItIsPrinted(t *testing.T) {
	key := []byte(mark + "key-0123456789-abcdefgh")
	encoded := base64.StdEncoding.EncodeToString(key)
	for name, printed := range map[string]string{
		"text":                    string(key),
		"text in capitals":        strings.ToUpper(string(key)),
		"within a line":           "level=INFO key=" + string(key) + " hub=x",
		"base64":                  encoded,
		"base64, shifted by one":  base64.StdEncoding.EncodeToString(append([]byte("x"), key...)),
		"base64, shifted by two":  base64.StdEncoding.EncodeToString(append([]byte("xy"), key...)),
		"base64 for URLs":         base64.RawURLEncoding.EncodeToString(key),
		"base64, query-escaped":   url.QueryEscape(encoded),
		"base64 of base64":        base64.StdEncoding.EncodeToString([]byte(encoded)),
		"base64 of base64, later": base64.StdEncoding.EncodeToString([]byte("id:" + encoded)),
		"%x":                      fmt.Sprintf("%x", key),
		"%X":                      fmt.Sprintf("%X", key),
		"% x":                     fmt.Sprintf("% x", key),
		"%v of bytes":             fmt.Sprintf("%v", key),
		"%#v of bytes":            fmt.Sprintf("%#v", key),
		"hex dump":                hex.Dump(key),
		"escaped":                 fmt.Sprintf("%%%x", key[0]) + fmt.Sprintf("%%%x%%%x%%%x%%%x%%%x%%%x", key[1], key[2], key[3], key[4], key[5], key[6]),
	} {
		assertFound(t, name, printed)
	}
}

func TestTokensAndPrivateKeysAreFoundByTheirShape(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	signature := url.QueryEscape(base64.StdEncoding.EncodeToString(make([]byte, 32)))
	for name, printed := range map[string]string{
		"token":                  "SharedAccess" + "Signature sr=hub%2Fdevices%2Fa&sig=" + signature + "&se=1",
		"signature alone":        "refused: sig=" + signature,
		"signature in a query":   "path?x=1&sig%3D" + signature,
		"token in another order": "SharedAccess" + "Signature se=1&sr=a",
		"PEM":                    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"%+v of a key":           fmt.Sprintf("%+v", private),
	} {
		assertFound(t, name, printed)
	}
}

func assertFound(t *testing.T, name, printed string) {
	t.Helper()
	at := strings.Count(innocent, "\n") + 1
	finds := look("output", []byte(innocent+printed+"\n"+innocent), everything())
	if assert.NotEmpty(t, finds, name) {
		assert.Equal(t, at, finds[0].line, name)
	}
}

func TestWhatIsNoSecretIsNotFound(t *testing.T) {
	assert.Empty(t, look("output", []byte(innocent), everything()))
}

func everything() []form { return slices.Concat(formsOf(mark), shapes) }

func TestKeysAreCollectedFromTheSources(t *testing.T) {
	dir := t.TempDir()
	text, encoded := "sixteen bytes and more",
		base64.StdEncoding.EncodeToString([]byte("another key of a device"))
	source := "package p\nvar a = base64.StdEncoding.EncodeToString([]byte(" +
		strconv.Quote(text) + "))\n" + "var b = Device{Key: " + strconv.Quote(encoded) +
		", ID: \"a name of many letters=\"}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p_test.go"), []byte(source), 0o600))
	keys, err := keysIn(dir)
	require.NoError(t, err)
	require.Len(t, keys, 2)
	assert.Equal(t, key{filepath.Join(dir, "p_test.go"), 2, text}, keys[0])
	assert.Equal(t, "another key of a device", keys[1].text)

	forms := formsOfAll(keys)
	for _, printed := range []string{
		text, base64.StdEncoding.EncodeToString([]byte(text)), encoded, fmt.Sprint([]byte(text)),
		fmt.Sprintf("%x", text),
	} {
		assert.NotEmpty(t, look("output", []byte(innocent+printed), forms), printed)
	}
	assert.Empty(t, look("output", []byte(innocent), forms))
}

func TestSearchThroughNothingIsNoSuccess(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	clean, empty := write("clean", innocent), write("empty", "")
	leaking := write("leaking", innocent+mark+"key\n")
	for name, c := range map[string]struct {
		args   []string
		status int
	}{
		"clean output":                     {[]string{clean}, 0},
		"clean output, expectation met":    {[]string{"-expect", `^ok\s.*/provisioning\s`, clean}, 0},
		"clean output, expectation missed": {[]string{"-expect", `^ok\s.*/hubconn\s`, clean}, 2},
		"secret printed":                   {[]string{leaking}, 1},
		"secret among clean files":         {[]string{clean, leaking, clean}, 1},
		"secret, and expectation missed":   {[]string{"-expect", "never", leaking}, 1},
		"empty file":                       {[]string{clean, empty}, 2},
		"missing file":                     {[]string{clean, filepath.Join(dir, "missing")}, 2},
		"no file":                          {nil, 2},
		"malformed expectation":            {[]string{"-expect", "(", clean}, 2},
		"sources without a key":            {[]string{"-keys", dir, clean}, 2},
		"sources that do not exist":        {[]string{"-keys", filepath.Join(dir, "missing"), clean}, 2},
	} {
		var out, errs strings.Builder
		assert.Equal(t, c.status, run(c.args, &out, &errs), "%s: %s%s", name, &out, &errs)
	}
}
