// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func signs(key crypto.Signer) error {
	digest := sha256.Sum256([]byte("message"))
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return err
	}
	if !ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], signature) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func requireSigns(t *testing.T, key crypto.Signer) {
	t.Helper()
	require.NoError(t, signs(key))
}

func labels(t *testing.T, token *hsm.Token) (all []string) {
	t.Helper()
	keys, err := token.List(t.Context())
	require.NoError(t, err)
	for _, k := range keys {
		all = append(all, k.Label)
		assert.False(t, k.Extractable, k.Label)
	}
	return all
}

func TestAKeySignsAndIsFoundByTheNextProcess(t *testing.T) {
	token := newToken(t)
	key, reference, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	assert.Len(t, reference, 16)
	requireSigns(t, key)
	digest := sha512.Sum512([]byte("message"))
	signature, err := key.Sign(nil, digest[:], crypto.SHA512)
	require.NoError(t, err)
	assert.True(t, ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], signature))
	_, err = key.Sign(nil, digest[:20], crypto.SHA1)
	oneLine(t, err, nil, "a digest of 20 bytes")
	_, err = key.Sign(nil, digest[:], crypto.SHA256)
	oneLine(t, err, nil, "a digest of 64 bytes")

	token = again(t, token)
	keys := hsm.Keys{Token: token, Device: "dev"}
	loaded, err := keys.Load(t.Context(), reference)
	require.NoError(t, err)
	assert.True(t, key.Public().(*ecdsa.PublicKey).Equal(loaded.Public()))
	requireSigns(t, loaded)
	csr, err := dps.NewCSR(loaded, "dev")
	require.NoError(t, err)
	request, err := x509.ParseCertificateRequest(csr)
	require.NoError(t, err)
	require.NoError(t, request.CheckSignature())

	require.NoError(t, keys.Delete(t.Context(), reference))
	require.NoError(t, keys.Delete(t.Context(), reference), "it is not there")
	require.NoError(t, keys.Delete(t.Context(), nil))
	_, err = keys.Load(t.Context(), reference)
	oneLine(t, err, hsm.ErrNoKey)
	oneLine(t, signs(loaded), hsm.ErrNoKey)
	_, err = keys.Load(t.Context(), nil)
	oneLine(t, err, hsm.ErrNoKey, "the reference is empty")
	assert.Empty(t, labels(t, token))
}

func TestAKeyDoesNotLeaveTheToken(t *testing.T) {
	token := newToken(t)
	_, id, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	_, err = hsm.Attribute(t.Context(), token, id, pkcs11.CKA_VALUE)
	oneLine(t, err, pkcs11.Error(pkcs11.CKR_ATTRIBUTE_SENSITIVE))
	for attribute, want := range map[uint]byte{
		pkcs11.CKA_SENSITIVE: 1, pkcs11.CKA_ALWAYS_SENSITIVE: 1, pkcs11.CKA_PRIVATE: 1,
		pkcs11.CKA_LOCAL: 1, pkcs11.CKA_EXTRACTABLE: 0, pkcs11.CKA_NEVER_EXTRACTABLE: 1,
	} {
		got, err := hsm.Attribute(t.Context(), token, id, attribute)
		require.NoError(t, err)
		assert.Equal(t, []byte{want}, got, "%#x", attribute)
	}
}

// extractable makes keys as some tokens do that do not care what they are asked for.
type extractable struct{ hsm.Module }

func (e extractable) GenerateKeyPair(
	s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute,
) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
	for i, a := range private {
		if a.Type == pkcs11.CKA_EXTRACTABLE {
			private[i] = pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true)
		}
	}
	return e.Module.GenerateKeyPair(s, m, public, private)
}

// nameless makes keys without an ID, as other programs do.
type nameless struct{ hsm.Module }

func (n nameless) GenerateKeyPair(
	s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute,
) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error) {
	for _, half := range [][]*pkcs11.Attribute{public, private} {
		for i, a := range half {
			if a.Type == pkcs11.CKA_ID {
				half[i] = pkcs11.NewAttribute(pkcs11.CKA_ID, nil)
			}
		}
	}
	return n.Module.GenerateKeyPair(s, m, public, private)
}

func TestAnEmptyReferenceIsNotThatOfAKeyWithoutAnID(t *testing.T) {
	token := newToken(t)
	hsm.Before(token, func(m hsm.Module) hsm.Module { return nameless{m} })
	_, err := token.Make(t.Context(), "another program's")
	oneLine(t, err, hsm.ErrNoKey)
	keys := hsm.Keys{Token: token, Device: "dev"}
	require.NoError(t, keys.Delete(t.Context(), nil))
	_, err = keys.Load(t.Context(), nil)
	oneLine(t, err, hsm.ErrNoKey)
	assert.Equal(t, []string{"another program's"}, labels(t, token))
}

// strict signs nothing that is longer than the curve's order, as some secure elements.
type strict struct{ hsm.Module }

func (m strict) Sign(s pkcs11.SessionHandle, message []byte) ([]byte, error) {
	if len(message) > 32 {
		return nil, pkcs11.Error(pkcs11.CKR_DATA_LEN_RANGE)
	}
	return m.Module.Sign(s, message)
}

func TestADigestIsNoLongerThanTheTokenSigns(t *testing.T) {
	token := newToken(t)
	hsm.Before(token, func(m hsm.Module) hsm.Module { return strict{m} })
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	digest := sha512.Sum512([]byte("message"))
	signature, err := key.Sign(nil, digest[:], crypto.SHA512)
	require.NoError(t, err)
	assert.True(t, ecdsa.VerifyASN1(key.Public().(*ecdsa.PublicKey), digest[:], signature))
}

func TestATokenWhoseKeysCouldLeaveItIsNotUsed(t *testing.T) {
	token := newToken(t)
	hsm.Before(token, func(m hsm.Module) hsm.Module { return extractable{m} })
	_, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	oneLine(t, err, nil, "no key that stays in it")
	assert.Empty(t, labels(t, token))
}

// A process that is killed after Generate has not stored the reference; one that was killed while
// it was removing a key has left half of it.
func TestKeysThatAKilledProcessHasLeftAreRemoved(t *testing.T) {
	token := newToken(t)
	keys := func() hsm.Keys { return hsm.Keys{Token: token, Device: "dev"} }
	other, _, err := hsm.Keys{Token: token, Device: "other"}.Generate(t.Context())
	require.NoError(t, err)
	_, err = token.Make(t.Context(), "onboarding")
	require.NoError(t, err)
	used, _, err := keys().Generate(t.Context())
	require.NoError(t, err)
	requireSigns(t, used)
	for range 3 {
		_, _, err := keys().Generate(t.Context())
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{
			"rehome-new other", "onboarding", "rehome dev", "rehome-new dev",
		}, labels(t, token))
		token = again(t, token)
	}
	requireSigns(t, used)
	requireSigns(t, other)

	// Stored, and killed before the key was used.
	key, reference, err := keys().Generate(t.Context())
	require.NoError(t, err)
	token = again(t, token)
	loaded, err := keys().Load(t.Context(), reference)
	require.NoError(t, err)
	requireSigns(t, loaded)
	_, _, err = keys().Generate(t.Context())
	require.NoError(t, err)
	requireSigns(t, key)
}

// fixed is a token that changes nothing of what it has, as some secure elements.
type fixed struct{ hsm.Module }

func (fixed) SetAttributeValue(
	pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute,
) error {
	return pkcs11.Error(pkcs11.CKR_FUNCTION_NOT_SUPPORTED)
}

func TestATokenThatChangesNoLabelKeepsAllKeys(t *testing.T) {
	token := newToken(t)
	hsm.Before(token, func(m hsm.Module) hsm.Module { return fixed{m} })
	keys := hsm.Keys{Token: token, Device: "dev"}
	for range 2 {
		key, _, err := keys.Generate(t.Context())
		require.NoError(t, err)
		requireSigns(t, key)
	}
	assert.Equal(t, []string{"rehome dev", "rehome dev"}, labels(t, token))
}

func TestAKeyThatSomebodyHasPutIntoTheTokenIsFoundByItsLabel(t *testing.T) {
	token := newToken(t)
	_, err := token.Find(t.Context(), "maker")
	oneLine(t, err, hsm.ErrNoKey, `none has the label "maker"`)
	_, err = token.Find(t.Context(), "")
	oneLine(t, err, hsm.ErrNoKey, "its label is empty")
	_, err = token.Make(t.Context(), "")
	oneLine(t, err, hsm.ErrNoKey, "its label is empty")
	made, err := token.Make(t.Context(), "maker")
	require.NoError(t, err)
	same, err := token.Make(t.Context(), "maker")
	require.NoError(t, err)
	found, err := token.Find(t.Context(), "maker")
	require.NoError(t, err)
	for _, key := range []crypto.Signer{same, found} {
		assert.True(t, made.Public().(*ecdsa.PublicKey).Equal(key.Public()))
		requireSigns(t, key)
	}

	// One on P-384, and one of RSA, by another tool's hand.
	softhsm.Need(t, "openssl")
	for label, kind := range map[string][]string{
		"384": {"ecparam", "-name", "secp384r1", "-genkey"}, "rsa": {"genrsa", "2048"},
	} {
		file := filepath.Join(t.TempDir(), "key")
		pem, err := exec.CommandContext(t.Context(), "openssl", kind...).Output()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, pem, 0o600))
		der, err := exec.CommandContext(
			t.Context(), "openssl", "pkcs8", "-topk8", "-nocrypt", "-in", file,
		).Output()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, der, 0o600))
		out, err := exec.CommandContext(
			t.Context(), "softhsm2-util", "--import", file, "--token", token.Label, "--label",
			label, "--id", "a1"+map[string]string{"384": "01", "rsa": "02"}[label], "--pin",
			softhsm.PIN,
		).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	token = again(t, token)
	big, err := token.Find(t.Context(), "384")
	require.NoError(t, err)
	digest := sha512.Sum384([]byte("message"))
	signature, err := big.Sign(nil, digest[:], crypto.SHA384)
	require.NoError(t, err)
	assert.True(t, ecdsa.VerifyASN1(big.Public().(*ecdsa.PublicKey), digest[:], signature))
	_, err = token.Find(t.Context(), "rsa")
	oneLine(t, err, nil, "no ECDSA key")
}

func TestAnEndedContextEndsTheWait(t *testing.T) {
	token := newToken(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(ctx)
	oneLine(t, err, context.Canceled)
}
