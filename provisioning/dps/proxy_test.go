package dps_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
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
