package provisioning_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning"
)

func TestAWrongProxySettingDoesNotShowItsPassword(t *testing.T) {
	for _, transport := range []provisioning.Transport{provisioning.HTTPS, provisioning.MQTTWebSocket} {
		c := &provisioning.Client{
			IDScope: "0ne00000001", Attestation: provisioning.SymmetricKey{ID: rigID, Key: rigKey}, Transport: transport,
			Proxy: func(*http.Request) (*url.URL, error) {
				return nil, errors.New(`invalid proxy address "http://user:canary-password@proxy"`)
			},
		}
		_, err := c.Register(context.Background(), provisioning.Registration{})
		require.ErrorContains(t, err, "proxy setting")
		require.NotContains(t, err.Error(), "canary")
		_, err = c.Time(context.Background())
		require.NotContains(t, err.Error(), "canary")
	}
}
