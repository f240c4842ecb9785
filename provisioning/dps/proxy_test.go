// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

func TestAWrongProxySettingDoesNotShowItsPassword(t *testing.T) {
	for _, transport := range []dps.Transport{dps.HTTPS, dps.MQTTWebSocket} {
		c := &dps.Client{
			IDScope: "0ne00000001",
			Attestation: dps.SymmetricKey{
				ID:  "sensor-042",
				Key: base64.StdEncoding.EncodeToString([]byte("canary-key-0123456789-canary-key")),
			},
			Transport: transport,
			Proxy: func(*http.Request) (*url.URL, error) {
				return nil, errors.New(`invalid proxy address "http://user:canary-password@proxy"`)
			},
		}
		_, err := c.Register(context.Background(), dps.Registration{})
		require.ErrorContains(t, err, "proxy setting")
		require.NotContains(t, err.Error(), "canary")
		_, err = c.Time(context.Background())
		require.NotContains(t, err.Error(), "canary")
	}
}

// clientAnswers makes a host, whose certificate the device trusts, answer everything in one way.
func (w *clientWorld) clientAnswers(status int, body string, header ...string) {
	w.client.Endpoint = dpstest.GlobalEndpoint
	w.network.Handle(dpstest.GlobalEndpoint, clientSite{
		HandlerFunc: func(rw http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(header); i += 2 {
				rw.Header().Set(header[i], header[i+1])
			}
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, body)
		},
	})
}

// clientAsks are the ways to ask the service something, where a proxy may answer.
var clientAsks = map[string]func(w *clientWorld) error{
	"register": func(w *clientWorld) error {
		_, err := w.client.Register(w.Context(), dps.Registration{})
		return err
	},
	"poll": func(w *clientWorld) error {
		_, err := w.client.Register(w.Context(), dps.Registration{OperationID: "5.a.b"})
		return err
	},
	"lookup": func(w *clientWorld) error {
		_, err := w.client.Lookup(w.Context())
		return err
	},
	"upgrade": func(w *clientWorld) error {
		w.client.Transport = dps.MQTTWebSocket
		_, err := w.client.Register(w.Context(), dps.Registration{})
		return err
	},
}

func TestATrustedProxyThatAnswersForTheServiceIsAsNoAnswer(t *testing.T) {
	for name, ask := range clientAsks {
		for _, status := range []int{400, 401, 403, 404, 405, 407, 409, 412, 429, 451, 500, 502} {
			clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
				w.clientAnswers(
					status, `{"message":"blocked"}`, "Date", "Mon, 01 Jan 2001 00:00:00 GMT",
					"Retry-After", "77",
				)
				err := ask(w)
				failure, ok := errors.AsType[*dps.Error](err)
				require.True(w, ok, "%v", err)
				assert.Equal(w, retry.Wait, failure.Verdict(), "%s: %v", name, err)
				assert.False(w, failure.Answered(), "%s: %v", name, err)
				assert.Zero(w, failure.Date, "its clock is not the service's")
				assert.Equal(w, status, failure.Status)
				assert.Equal(
					w, 77*time.Second, retry.After(err), "to wait longer than needed does no harm",
				)
			})
		}
	}
}

func TestTheMarksOfTheServiceMakeAnAnswerItsOwn(t *testing.T) {
	for name, ask := range clientAsks {
		for body, header := range map[string]string{
			`{"errorCode":401002}`:         "X-Other",
			`{"trackingId":"t-1"}`:         "X-Other",
			"":                             "X-Ms-Request-Id",
			`{"authenticationKey":"ADQA"}`: "X-Other",
		} {
			clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
				w.clientAnswers(401, body, header, "r-1")
				err := ask(w)
				failure, ok := errors.AsType[*dps.Error](err)
				require.True(w, ok, "%v", err)
				assert.True(w, failure.Answered(), "%s: %v", name, err)
				assert.WithinDuration(w, time.Now(), failure.Date, time.Second)
				if name != "upgrade" { // it carried no credential that could be refused
					assert.Equal(w, retry.Stop, failure.Verdict(), "%s: %v", name, err)
				}
			})
		}
	}
}

func TestEveryAnswerOfTheServiceTellsItsTime(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.network.SetClockOffset(time.Minute)
		now := func(date time.Time, answer string) {
			assert.WithinDuration(w, w.network.Now(), date, time.Second, answer)
		}
		now(w.lookUpRefused().Date, "not registered")
		now(w.register(dps.Registration{}).Date, "registered")
		looked, err := w.client.Lookup(w.Context())
		require.NoError(w, err)
		now(looked.Date, "looked up")
		for _, fault := range []dpstest.Fault{
			{Status: 503}, {Code: 429001}, {Code: 401002}, {Code: 409203}, {CutAfter: 10},
			{Status: 404, Body: []byte{}}, {Status: 200, Body: []byte("{}")},
			{Status: 200, Body: []byte(`{"status":"disabled"}`)},
		} {
			w.dps.Inject(fault)
			now(w.refused(dps.Registration{}).Date, fmt.Sprintf("%+v", fault))
		}
	})
	// An assignment that is taken for the service's own is so with its time.
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.clientAnswers(200, clientAssigned)
		assert.WithinDuration(w, time.Now(), w.register(dps.Registration{}).Date, time.Second)
	})
}

func TestTimeBelievesNoProxyThatSpeaksForItself(t *testing.T) {
	for _, in := range []struct {
		status int
		header string
		told   bool
	}{
		{200, "X-Other", true}, {307, "X-Other", true}, {403, "X-Other", true},
		{404, "X-Other", true}, {404, "Via", true}, {503, "X-Other", true},
		{407, "X-Other", false}, {511, "X-Other", false},
		{403, "Proxy-Status", false}, {401, "Proxy-Authenticate", false},
		{407, "X-Ms-Request-Id", true},
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			w.clientAnswers(in.status, "", in.header, "x")
			told, err := w.client.Time(w.Context())
			if in.told {
				assert.WithinDuration(w, time.Now(), told, time.Second)
				if in.status == 503 {
					assert.Zero(w, retry.After(err), "a proxy's wish is nobody's")
					err = nil
				}
				require.NoError(w, err, "%+v", in)
				return
			}
			require.ErrorContains(w, err, "a proxy's", "%+v", in)
			assert.Zero(w, told)
			assert.Equal(w, retry.Wait, retry.Classify(err))
		})
	}
}
