// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
)

func TestMain(m *testing.M) { os.Exit(softhsm.Main(m)) }

func pin(is string) func() (string, error) { return func() (string, error) { return is, nil } }

// newToken is a new token, and the way to it.
func newToken(t *testing.T) *hsm.Token {
	t.Helper()
	label := strings.ReplaceAll(t.Name(), "/", " ")
	label = label[max(0, len(label)-32):] // CK_TOKEN_INFO has no more
	softhsm.Init(t, label)
	token := &hsm.Token{Module: softhsm.Module(t), Label: label, PIN: pin(softhsm.PIN)}
	t.Cleanup(func() { assert.NoError(t, token.Close()) })
	return token
}

// again is the same token, as another process has it.
func again(t *testing.T, token *hsm.Token) *hsm.Token {
	t.Helper()
	require.NoError(t, token.Close())
	other := &hsm.Token{Module: token.Module, Label: token.Label, PIN: token.PIN}
	t.Cleanup(func() { assert.NoError(t, other.Close()) })
	return other
}

func oneLine(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	require.Error(t, err)
	if kind != nil {
		assert.ErrorIs(t, err, kind)
	}
	for _, word := range words {
		assert.ErrorContains(t, err, word)
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.NotContains(t, err.Error(), "canary-pin")
	assert.LessOrEqual(t, len(err.Error()), 300)
	assert.IsType(t, &hsm.Error{}, err)
}

func TestWhatIsWrongWithATokenIsSaidInOneLine(t *testing.T) {
	good := newToken(t)
	_, err := good.List(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	require.NoError(t, os.WriteFile(text, []byte("no library"), 0o600))
	pins := func(text string, mode os.FileMode) func() (string, error) {
		path := filepath.Join(dir, fmt.Sprintf("%d-%o", len(text), mode))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		return hsm.PINFile(path)
	}
	for name, test := range map[string]struct {
		token *hsm.Token
		kind  error
		words []string
	}{
		"no module":     {&hsm.Token{Label: good.Label}, hsm.ErrModule, []string{"Module is empty"}},
		"not found":     {&hsm.Token{Module: dir + "/none.so"}, hsm.ErrModule, []string{"none.so", "install it"}},
		"no library":    {&hsm.Token{Module: text}, hsm.ErrModule, []string{"text.so", "is no PKCS #11 module"}},
		"no token":      {&hsm.Token{Module: good.Module, Label: "another"}, hsm.ErrNoToken, []string{`"another"`, "the module has"}},
		"no PIN":        {&hsm.Token{Module: good.Module, Label: good.Label}, nil, []string{"there is no PIN"}},
		"wrong PIN":     {&hsm.Token{Module: good.Module, Label: good.Label, PIN: pin("canary-pin-wrong")}, hsm.ErrPIN, []string{"the PIN is wrong"}},
		"short PIN":     {&hsm.Token{Module: good.Module, Label: good.Label, PIN: pin("1")}, hsm.ErrPIN, []string{"the PIN is wrong"}},
		"no PIN file":   {&hsm.Token{Module: good.Module, Label: good.Label, PIN: hsm.PINFile(dir + "/none")}, os.ErrNotExist, []string{"PIN file"}},
		"open PIN file": {&hsm.Token{Module: good.Module, Label: good.Label, PIN: pins("canary-pin-0042", 0o644)}, nil, []string{"chmod 600"}},
		"empty file":    {&hsm.Token{Module: good.Module, Label: good.Label, PIN: pins("\n", 0o600)}, nil, []string{"is empty"}},
		"large file":    {&hsm.Token{Module: good.Module, Label: good.Label, PIN: pins(strings.Repeat("canary-pin", 999), 0o600)}, nil, []string{"it is something else"}},
		"no variable":   {&hsm.Token{Module: good.Module, Label: good.Label, PIN: hsm.PINVariable("REHOME_NO_SUCH_PIN")}, nil, []string{"REHOME_NO_SUCH_PIN"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, good.Close()) // which is logged in for all of the process
			_, err := test.token.List(t.Context())
			oneLine(t, err, test.kind, test.words...)
			assert.NoError(t, test.token.Close())
		})
	}
	right := &hsm.Token{
		Module: good.Module, Label: good.Label, PIN: pins("canary-pin-0042\r\n", 0o600),
	}
	_, err = right.List(t.Context())
	require.NoError(t, err, "a line break at the end of the file does not count")
	require.NoError(t, right.Close())
}

func TestTwoTokensOfOneLabelAreNotToldApart(t *testing.T) {
	token := newToken(t)
	softhsm.Init(t, token.Label)
	_, err := token.List(t.Context())
	oneLine(t, err, nil, "2 tokens of the module have this label")
}

func TestATokenPrintsWithoutItsPIN(t *testing.T) {
	token := newToken(t)
	right := token.PIN
	token.PIN = pin("canary-pin-wrong")
	_, err := token.List(t.Context())
	require.Error(t, err)
	token.PIN = right
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	var log strings.Builder
	for _, v := range []any{token, hsm.Keys{Token: token}, key} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
			assert.NotContains(t, fmt.Sprintf(verb, v), "canary-pin", verb)
		}
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
	}
	assert.NotContains(t, log.String(), "canary-pin")
	assert.Contains(t, fmt.Sprint(key), "ECDSA key on P-256 in PKCS #11 token")
}

func TestATokenIsOfUseAgainAfterItsEnd(t *testing.T) {
	token := newToken(t)
	keys := hsm.Keys{Token: token, Device: "dev"}
	key, _, err := keys.Generate(t.Context())
	require.NoError(t, err)
	require.NoError(t, token.Close())
	require.NoError(t, token.Close())
	requireSigns(t, key)
}

// A token that is shared by two users in one process is logged in and out for both.
func TestTwoUsersOfOneTokenDoNotLogEachOtherOut(t *testing.T) {
	one := newToken(t)
	key, reference, err := hsm.Keys{Token: one, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	two := &hsm.Token{Module: one.Module, Label: one.Label, PIN: one.PIN}
	_, err = hsm.Keys{Token: two, Device: "dev"}.Load(t.Context(), reference)
	require.NoError(t, err)
	require.NoError(t, two.Close())
	requireSigns(t, key)
}

func errorsOf(n int, do func() error) error {
	results := make(chan error)
	for range n {
		go func() { results <- do() }()
	}
	var all error
	for range n {
		all = errors.Join(all, <-results)
	}
	return all
}

func TestSessionsAreShared(t *testing.T) {
	token := newToken(t)
	token.Sessions = 2
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	require.NoError(t, errorsOf(32, func() error { return signs(key) }))
	assert.LessOrEqual(t, hsm.Idle(token), 2)
	assert.Positive(t, hsm.Idle(token), "they stay open")
}
