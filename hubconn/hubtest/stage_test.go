// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStagesHaveOneSpelling(t *testing.T) {
	for s := Stage(0); s <= BlobPut; s++ {
		text, err := s.MarshalText()
		require.NoError(t, err)
		if s != 0 {
			assert.Equal(t, s.String(), string(text))
		}
		var back Stage
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, s, back)
	}
	_, err := (BlobGet + 1).MarshalText()
	assert.Error(t, err)
	assert.ErrorContains(t, new(Stage).UnmarshalText([]byte("breakfast")), "twinGet")
}

func TestFaultIsTheSameAfterJSON(t *testing.T) {
	whole := Fault{On: Publish, Delay: 90 * time.Second, Chain: ChainExpired}
	v := reflect.ValueOf(&whole).Elem()
	for i := range v.NumField() { // so that no field is forgotten
		switch f := v.Field(i); f.Kind() {
		case reflect.Bool:
			f.SetBool(true)
		case reflect.String:
			if f.IsZero() {
				f.SetString("text")
			}
		case reflect.Uint8:
			f.SetUint(3)
		case reflect.Int:
			if f.IsZero() {
				f.SetInt(500)
			}
		}
		require.False(t, v.Field(i).IsZero(), v.Type().Field(i).Name)
	}
	text, err := json.Marshal(whole)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"on":"publish"`)
	assert.Contains(t, string(text), `"delay":"1m30s"`)
	var back Fault
	require.NoError(t, json.Unmarshal(text, &back))
	assert.Equal(t, whole, back)

	text, err = json.Marshal(Fault{On: Connect})
	require.NoError(t, err)
	assert.JSONEq(t, `{"on":"connect"}`, string(text))
	assert.Error(t, json.Unmarshal([]byte(`{"delay":5}`), &back))
}
