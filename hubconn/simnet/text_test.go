// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFaultsAndCertificatesHaveOneSpelling(t *testing.T) {
	for f := None; f <= ResetOnAccept; f++ {
		text, err := f.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, f.String(), string(text))
		var back Fault
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, f, back)
	}
	for k := Valid; k <= WrongName; k++ {
		text, err := k.MarshalText()
		require.NoError(t, err)
		assert.Equal(t, k.String(), string(text))
		var back CertificateKind
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, k, back)
	}
	_, err := (ResetOnAccept + 1).MarshalText()
	assert.Error(t, err)
	_, err = (WrongName + 1).MarshalText()
	assert.Error(t, err)
	assert.ErrorContains(t, new(Fault).UnmarshalText([]byte("fire")), "blackhole")
	assert.ErrorContains(t, new(CertificateKind).UnmarshalText([]byte("red")), "unknownCA")
}

func TestDurationIsText(t *testing.T) {
	text, err := json.Marshal(Duration(90 * time.Second))
	require.NoError(t, err)
	assert.Equal(t, `"1m30s"`, string(text))
	var d Duration
	require.NoError(t, json.Unmarshal([]byte(`"-1.5s"`), &d))
	assert.Equal(t, Duration(-1500*time.Millisecond), d)
	for _, wrong := range []string{`30`, `"30"`, `"soon"`, `true`, `[]`} {
		assert.ErrorContains(t, json.Unmarshal([]byte(wrong), &d), "is no duration", wrong)
	}
}
