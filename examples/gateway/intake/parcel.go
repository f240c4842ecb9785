// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// Parcel is messages for a device on their way to the replica that runs it.
type Parcel struct {
	Device   string            `json:"device"`
	Lane     Lane              `json:"lane"`
	Messages []hubconn.Message `json:"messages"`
}

// ReadParcel reads what another replica has sent. The error is a *Refusal.
func ReadParcel(data []byte) (p Parcel, err error) {
	err = json.Unmarshal(data, &p)
	if err != nil || p.Device == "" || p.Lane != Telemetry && p.Lane != Alarms {
		return Parcel{}, refused(http.StatusBadRequest,
			"another replica has sent what is no message")
	}
	return p, nil
}

// Receipt is what that replica says to it.
type Receipt struct {
	Status     int           `json:"status"`
	Text       string        `json:"text,omitempty"`
	RetryAfter time.Duration `json:"retryAfter,omitempty"`
}

// NewReceipt says what Keep has returned.
func NewReceipt(err error) Receipt {
	if err == nil {
		return Receipt{Status: http.StatusAccepted}
	}
	if r, ok := errors.AsType[*Refusal](err); ok {
		return Receipt{r.Status, r.Text, r.RetryAfter}
	}
	return Receipt{http.StatusServiceUnavailable, err.Error(), time.Second}
}

// Err is that again: nil, or a *Refusal.
func (r Receipt) Err() error {
	switch {
	case r.Status == http.StatusAccepted:
		return nil
	case r.Status < 400 || r.Status > 599: // of a replica that is no replica
		return refused(http.StatusServiceUnavailable, "another replica has answered with nonsense")
	}
	return &Refusal{r.Status, r.Text, r.RetryAfter}
}
