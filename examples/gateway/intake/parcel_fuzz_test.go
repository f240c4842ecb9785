// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

func TestAParcelArrivesAsItWasSent(t *testing.T) {
	sent := Parcel{Device: "hall", Lane: Alarms, Messages: []hubconn.Message{{
		Body: []byte{0, 255}, MessageID: "m", ContentType: "a/b", ContentEncoding: "utf-8",
		CreationTime: time.Date(2026, 1, 31, 12, 0, 0, 7, time.UTC), Component: "c",
		CorrelationID: "d", Properties: map[string]string{"Zone": "ä"},
	}}}
	data, err := json.Marshal(sent)
	require.NoError(t, err)
	got, err := ReadParcel(data)
	require.NoError(t, err)
	assert.Equal(t, sent, got)
	for _, said := range []error{
		nil, &Refusal{404, "none", 0}, &Refusal{503, "later", time.Second},
	} {
		assert.Equal(t, said, NewReceipt(said).Err())
	}
	assert.Error(t, Receipt{}.Err())
	assert.Equal(t, 503, NewReceipt(errors.New("other")).Status)
}

func FuzzParcel(f *testing.F) {
	f.Add([]byte(`{"device":"hall","lane":"events","messages":[{"Body":"AA=="}]}`))
	f.Add([]byte(`{"device":"hall","lane":"other"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ReadParcel(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Skip("a time that cannot be written")
		}
		q, err := ReadParcel(again)
		if err != nil || len(p.Messages) != len(q.Messages) {
			t.Fatalf("%v: %q", err, again)
		}
	})
}
