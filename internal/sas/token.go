// SPDX-License-Identifier: Apache-2.0

package sas

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const scheme = "SharedAccessSignature"

// Token returns a token for resource ("hub.azure-devices.net/devices/dev1",
// without scheme or leading slash) that is good until expiry, cut to the second.
// It carries no key name; the provisioning service's "&skn=registration" may be
// appended to it, for the key name is not signed.
func Token(resource string, key []byte, expiry time.Time) string {
	token, _ := TokenBy(resource, expiry, func(text []byte) ([]byte, error) {
		return sign(key, string(text)), nil
	})
	return token
}

// TokenBy is Token for a key that is out of the program's reach: mac returns HMAC-SHA256 of a text
// under it. The error is mac's.
func TokenBy(
	resource string, expiry time.Time, mac func(text []byte) ([]byte, error),
) (string, error) {
	sr := escape(resource)
	se := strconv.FormatInt(expiry.Unix(), 10)
	signature, err := mac([]byte(sr + "\n" + se))
	if err != nil {
		return "", err
	}
	sig := base64.StdEncoding.EncodeToString(signature)
	return scheme + " sr=" + sr + "&sig=" + escape(sig) + "&se=" + se, nil
}

// DeriveKey returns the symmetric key of one device of an enrollment group:
// HMAC-SHA256 of its registration ID under the group key. Both keys are raw
// bytes, that is, base64 decoded. The ID enters as it is given; the service's are
// lower case.
func DeriveKey(groupKey []byte, registrationID string) []byte {
	return sign(groupKey, registrationID)
}

// LooksLikeKey reports whether a text may be a key in the wrong place, have one within
// it, or be a connection string, which has one: no error repeats it then. Keys of the
// services are base64 of 32 or 64 bytes.
func LooksLikeKey(text string) bool {
	for run := range strings.FieldsFuncSeq(text, notBase64) {
		if len(run) >= 24 && strings.ContainsAny(run, "+/=") {
			return true
		}
	}
	return strings.Contains(text, "SharedAccess")
}

func notBase64(r rune) bool { return !strings.ContainsRune(base64Alphabet, r) }

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="

func sign(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// escape percent-encodes as the official clients do. A space becomes %20: not
// every verifier reads a plus sign as one.
func escape(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}
