package hubtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzUsername(f *testing.F) {
	f.Add("hub/dev1/?api-version=2021-04-12", "dev1")
	f.Add("hub/dev1/mod1/?api-version=2021-04-12&DeviceClientType=a%20b", "dev1/mod1")
	f.Add("hub/dev1/api-version=2016-11-14", "dev1")
	f.Add("hub/dev1", "dev1")
	f.Add("/", "")
	f.Fuzz(func(t *testing.T, name, clientID string) {
		u, ok := parseUsername(name, clientID)
		if !ok {
			return
		}
		_ = u.versionOK()
		require.NotEmpty(t, clientID)
		require.NotContains(t, u.host, "/")
		require.True(t, strings.HasPrefix(name, u.host+"/"+clientID))
		rest := name[len(u.host)+1+len(clientID):]
		require.True(t, rest == "" || rest[0] == '/', "a longer client ID is another one")
	})
}
