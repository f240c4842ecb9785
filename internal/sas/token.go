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
	sr := escape(resource)
	se := strconv.FormatInt(expiry.Unix(), 10)
	sig := base64.StdEncoding.EncodeToString(sign(key, sr+"\n"+se))
	return scheme + " sr=" + sr + "&sig=" + escape(sig) + "&se=" + se
}

// DeriveKey returns the symmetric key of one device of an enrollment group:
// HMAC-SHA256 of its registration ID under the group key. Both keys are raw
// bytes, that is, base64 decoded. The ID enters as it is given; the service's are
// lower case.
func DeriveKey(groupKey []byte, registrationID string) []byte {
	return sign(groupKey, registrationID)
}

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
