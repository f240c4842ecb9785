// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// onEach runs a test with one hub and its device "dev1", in memory, for each transport.
func onEach(t *testing.T, f func(t *testing.T, h *Hub, transport string)) {
	for _, transport := range []string{"mqtt", "ws"} {
		t.Run(transport, func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *simnet.Network) {
				h := NewHub(n, hubHost)
				require.NoError(t, h.Put(Device{ID: "dev1"}))
				f(t, h, transport)
			})
		})
	}
}

// last returns the newest attempt.
func last(t *testing.T, h *Hub) Attempt {
	t.Helper()
	all := h.Attempts()
	require.NotEmpty(t, all)
	return all[len(all)-1]
}

func TestDeviceConnectsAndSends(t *testing.T) {
	anywhere(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		for _, transport := range []string{"mqtt", "ws"} {
			h.ResetLog()
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			assert.True(t, h.Connected("dev1"))
			c.deliver("hello")
			require.Len(t, h.Messages(), 1)
			m := h.Messages()[0]
			assert.Equal(t, "hello", string(m.Body))
			assert.Equal(t, "dev1", m.DeviceID)
			assert.Equal(t, transport, m.Transport)
			assert.WithinDuration(t, n.Now(), m.Time, 5*time.Second)
			attempts := h.Attempts()
			require.Len(t, attempts, 1)
			assert.True(t, attempts[0].Accepted())
			assert.Equal(t, "dev1", attempts[0].DeviceID)
			assert.Equal(t, transport, attempts[0].Transport)
			assert.True(t, h.Disconnect("dev1"))
			c.ended()
			assert.False(t, h.Disconnect("dev1"))
			assert.False(t, h.Connected("dev1"))
		}
	})
}

func TestEveryFormOfUserNameIsTaken(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		for _, id := range []string{"dev1", "api-version=2016-11-14", "a?b", "50%"} {
			require.NoError(t, h.Put(Device{ID: id, PrimaryKey: "c2VjcmV0"}))
			for _, form := range []string{
				"{h}/{id}/?api-version=2021-04-12",
				"{h}/{id}/?api-version=2020-09-30&DeviceClientType=py-azure-iot-device%2F2.0&model-id=dtmi%3Acom%3Aexample%3Athermostat%3B1",
				"{h}/{id}/?api-version=2025-08-01-preview",
				"{h}/{id}/api-version=2016-11-14",
				"{h}/{id}/",
				"{h}/{id}",
			} {
				name := strings.NewReplacer("{h}", strings.ToUpper(hubHost), "{id}", id).
					Replace(form)
				c := device(t, h, id)
				c.username = name
				assert.Zero(t, c.connect("mqtt"), name)
				c.close()
			}
		}
	})
}

func TestRefusalsAreAllReturnCode5(t *testing.T) {
	type setup = func(t *testing.T, h *Hub, c *client)
	for name, test := range map[string]struct {
		set    setup
		reason string
	}{
		"no user name":          {func(_ *testing.T, _ *Hub, c *client) { c.username = "" }, "user name is not {hub}/{client ID}/?api-version=…"},
		"user name of nonsense": {func(_ *testing.T, _ *Hub, c *client) { c.username = "hello" }, "user name is not {hub}/{client ID}/?api-version=…"},
		"user name for another device": {
			func(_ *testing.T, h *Hub, c *client) {
				c.username = hubHost + "/dev2/?api-version=2021-04-12"
			},
			"user name is not {hub}/{client ID}/?api-version=…",
		},
		"client ID in other case": {func(_ *testing.T, h *Hub, c *client) { c.id = "DEV1" }, "user name is not {hub}/{client ID}/?api-version=…"},
		"user name for another hub": {func(_ *testing.T, h *Hub, c *client) {
			c.username = "hub-b.azure-devices.net/dev1/?api-version=2021-04-12"
		},
			"user name is for another hub"},
		"api-version of nonsense": {func(_ *testing.T, h *Hub, c *client) { c.username = hubHost + "/dev1/?api-version=latest" }, "api-version is not a date"},
		"unknown device":          {func(_ *testing.T, h *Hub, _ *client) { h.Delete("dev1") }, "no such device"},
		"disabled device":         {func(_ *testing.T, h *Hub, _ *client) { h.Disable("dev1") }, "device is disabled"},
		"no credential":           {func(_ *testing.T, _ *Hub, c *client) { c.password = "" }, "neither token nor client certificate"},
		"password that is no token": {
			func(_ *testing.T, _ *Hub, c *client) { c.password = "hunter2" },
			"sas token does not begin with SharedAccessSignature",
		},
		"token for another device": {func(t *testing.T, h *Hub, c *client) {
			d, _ := h.Get("dev1")
			c.password = token(
				t, hubHost+"/devices/dev2", d.PrimaryKey, h.network.Now().Add(time.Hour),
			)
		}, "token is for another resource"},
		"token for another hub": {func(t *testing.T, h *Hub, c *client) {
			d, _ := h.Get("dev1")
			c.password = token(
				t, "hub-b.azure-devices.net/devices/dev1", d.PrimaryKey,
				h.network.Now().Add(time.Hour),
			)
		}, "token is for another resource"},
		"token for a part of the device": {func(t *testing.T, h *Hub, c *client) {
			d, _ := h.Get("dev1")
			c.password = token(
				t, hubHost+"/devices/dev1/modules/m", d.PrimaryKey, h.network.Now().Add(time.Hour),
			)
		}, "token is for another resource"},
		"token of another key": {func(t *testing.T, h *Hub, c *client) {
			c.password = token(
				t, hubHost+"/devices/dev1", "b3RoZXI=", h.network.Now().Add(time.Hour),
			)
		}, "token is signed with another key"},
		"token for a part of the ID": {func(t *testing.T, h *Hub, c *client) {
			d, _ := h.Get("dev1")
			c.password = token(
				t, hubHost+"/devices/dev", d.PrimaryKey, h.network.Now().Add(time.Hour),
			)
		}, "token is for another resource"},
		"device's key under a policy's name": {func(_ *testing.T, _ *Hub, c *client) { c.password += "&skn=iothubowner" }, "token is signed with another key"},
		"unknown policy":                     {func(_ *testing.T, _ *Hub, c *client) { c.password += "&skn=me" }, "no such policy"},
		"policy without the right": {func(t *testing.T, h *Hub, c *client) {
			c.password = policyToken(t, h, "service", hubHost+"/devices/dev1", time.Hour)
		}, "authorization rule service does not allow access for devices"},
		"policy's token for another device": {func(t *testing.T, h *Hub, c *client) {
			c.password = policyToken(t, h, "device", hubHost+"/devices/dev2", time.Hour)
		}, "token is for another resource"},
		"policy's token that is too old": {func(t *testing.T, h *Hub, c *client) {
			c.password = policyToken(t, h, "device", hubHost+"/devices/dev1", -time.Hour)
		}, "token has expired"},
		"token more than five minutes old": {func(t *testing.T, h *Hub, c *client) {
			d, _ := h.Get("dev1")
			c.password = token(
				t, hubHost+"/devices/dev1", d.PrimaryKey, h.network.Now().Add(-301*time.Second),
			)
		}, "token has expired"},
		"certificate of another device": {func(_ *testing.T, h *Hub, c *client) {
			cert := h.network.CA().Device("dev1")
			c.cert, c.password = &cert, ""
		}, "thumbprint does not match"},
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				c := device(t, h, "dev1")
				test.set(t, h, c)
				assert.Equal(t, byte(5), c.connect(transport))
				c.ended()
				assert.Equal(t, test.reason, last(t, h).Reason)
				assert.Equal(t, byte(5), last(t, h).ReturnCode)
				assert.False(t, last(t, h).Accepted())
				assert.False(t, h.Connected("dev1"))
			})
		})
	}
}

// policyToken signs a token with the key of a hub's policy.
func policyToken(t *testing.T, h *Hub, policy, resource string, lifetime time.Duration) string {
	return token(t, resource, h.policies.key(policy), h.network.Now().Add(lifetime)) +
		"&skn=" + policy
}

// A resource is a prefix of what its token is good for, by whole segments.
func TestTokensOfPoliciesAndOfWholeHubsLetDevicesIn(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		require.NoError(t, h.PutModule("dev1", Module{ID: "m"}))
		d, _ := h.Get("dev1")
		m, _ := h.Module("dev1", "m")
		for id, resources := range map[string][]string{
			"dev1": {"", "/", "/devices", "/devices/dev1", "/devices/dev1/"},
			"dev1/m": {
				"", "/devices", "/devices/dev1", "/devices/dev1/modules", "/devices/dev1/modules/m",
			},
		} {
			key := d.PrimaryKey
			if id != "dev1" {
				key = m.SecondaryKey
			}
			for _, resource := range resources {
				resource = hubHost + resource
				for _, password := range []string{
					token(t, resource, key, h.network.Now().Add(time.Hour)),
					policyToken(t, h, "device", resource, time.Hour),
					policyToken(t, h, "iothubowner", resource, time.Hour),
				} {
					c := device(t, h, id)
					c.password = password
					assert.Zero(t, c.connect(transport), "%s with %s", id, resource)
					c.close()
					response, body := c.https("POST /messages/events", nil, "hello")
					assert.Equal(t, 204, response.StatusCode, "%s: %s", resource, body)
				}
			}
		}
		// A connection of a policy's token lives as long as that, like any other.
		c := device(t, h, "dev1")
		c.password = policyToken(t, h, "device", hubHost+"/devices/dev1", time.Minute)
		require.Zero(t, c.connect(transport))
		c.ended()
	})
}

func TestTokens(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		d, ok := h.Get("dev1")
		require.True(t, ok)
		now := h.network.Now()
		in := func(password string) bool {
			c := device(t, h, "dev1")
			c.password = password
			defer func() { c.close() }()
			return c.connect(transport) == 0
		}
		resource := hubHost + "/devices/dev1"
		assert.True(t, in(token(t, resource, d.PrimaryKey, now.Add(time.Hour))))
		assert.True(t, in(token(t, resource, d.SecondaryKey, now.Add(time.Hour))))
		assert.True(t, in(
			token(t, strings.ToUpper(hubHost)+"/devices/dev1", d.PrimaryKey, now.Add(time.Hour)),
		))
		assert.True(t, in(token(t, resource, d.PrimaryKey, now.Add(time.Hour))+"&skn="))
		assert.True(t, in(token(t, resource, d.PrimaryKey, now.Add(1000*time.Hour))))
		assert.True(
			t, in(token(t, resource, d.PrimaryKey, now.Add(-299*time.Second))),
			"clocks may differ by five minutes",
		)
		h.SetExpiryGrace(10 * time.Minute)
		assert.True(t, in(token(t, resource, d.PrimaryKey, now.Add(-599*time.Second))))
		h.SetExpiryGrace(0)
		assert.False(t, in(token(t, resource, d.PrimaryKey, now.Add(-2*time.Second))))

		d.PrimaryKey = "bmV3" // rotated
		require.NoError(t, h.Put(d))
		assert.True(t, in(token(t, resource, d.SecondaryKey, now.Add(time.Hour))))
		assert.True(t, in(token(t, resource, "bmV3", now.Add(time.Hour))))
	})
}

func TestTokenIsHeldAgainstTheHubsClock(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		c := device(t, h, "dev1")
		cfg := c.n.TLSConfig()
		require.NotNil(t, cfg)
		h.network.SetClockOffset(2 * time.Hour)
		assert.Equal(t, byte(5), c.connect(transport))
		c.ended()
		assert.Equal(t, "token has expired", last(t, h).Reason)
	})
}

func TestCertificates(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		ca := simnet.NewCA("Factory", h.network.Now()).Intermediate("Line 1")
		first, second := ca.Device("dev1"), ca.Device("dev1")
		old := sha1.Sum(second.Leaf.Raw)
		colons := ""
		for _, b := range old {
			colons += ":" + hex.EncodeToString([]byte{b})
		}
		require.NoError(t, h.Put(Device{
			ID: "x509", PrimaryThumbprint: strings.ToLower(Thumbprint(first.Leaf)),
			SecondaryThumbprint: colons[1:],
		}))
		in := func(cert tls.Certificate) byte {
			c := device(t, h, "x509")
			c.cert, c.password = &cert, ""
			defer func() { c.close() }()
			return c.connect(transport)
		}
		assert.Zero(t, in(first))
		assert.Zero(t, in(second))
		assert.Equal(t, byte(5), in(ca.Device("x509")))
		expired := ca.DeviceBetween(
			"x509", h.network.Now().Add(-2*time.Hour), h.network.Now().Add(-time.Hour),
		)
		require.NoError(t, h.Put(Device{ID: "x509", PrimaryThumbprint: Thumbprint(expired.Leaf)}))
		assert.Equal(t, byte(5), in(expired))
		assert.Equal(t, "client certificate is not valid at this time", last(t, h).Reason)

		c := device(t, h, "x509") // a device of thumbprints has no keys
		c.password = token(t, hubHost+"/devices/x509", "a2V5", h.network.Now().Add(time.Hour))
		assert.Equal(t, byte(5), c.connect(transport))
		c.ended()
	})
}

func TestDeviceThatIsTurnedOutLosesItsConnection(t *testing.T) {
	for name, out := range map[string]func(h *Hub){
		"disabled":         func(h *Hub) { assert.True(t, h.Disable("dev1")) },
		"deleted":          func(h *Hub) { assert.True(t, h.Delete("dev1")) },
		"put as disabled":  func(h *Hub) { assert.NoError(t, h.Put(Device{ID: "dev1", Disabled: true})) },
		"hub disconnected": func(h *Hub) { h.Disconnect("dev1") },
		"hub removed":      func(h *Hub) { h.network.Remove(h.Host()) },
		"connection cut":   func(h *Hub) { assert.Equal(t, 1, h.network.Cut(h.Host())) },
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				c := device(t, h, "dev1")
				require.Zero(t, c.connect(transport))
				start := time.Now()
				out(h)
				c.ended()
				assert.Less(t, time.Since(start), time.Second)
				synctest.Wait()
				assert.False(t, h.Connected("dev1"))
			})
		})
	}
}

func TestDeviceComesBackWhenEnabled(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.Disable("dev1")
		c := device(t, h, "dev1")
		require.Equal(t, byte(5), c.connect(transport))
		c.ended()
		require.True(t, h.Enable("dev1"))
		require.Zero(t, c.connect(transport))
		c.close()
		assert.False(t, h.Enable("nobody"))
		assert.False(t, h.Disable("nobody"))
		assert.False(t, h.Delete("nobody"))
	})
}

func TestSecondConnectionTakesOver(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		first, second := device(t, h, "dev1"), device(t, h, "dev1")
		require.Zero(t, first.connect(transport))
		require.Zero(t, second.connect(transport))
		first.ended()
		synctest.Wait()
		assert.True(t, h.Connected("dev1"), "the end of the first is not the end of the second")
		second.deliver("still here")
		second.close()
		synctest.Wait()
		assert.False(t, h.Connected("dev1"))

		refused := device(t, h, "dev1") // one that does not get in takes nothing over
		require.Zero(t, second.connect(transport))
		refused.password = "wrong"
		require.Equal(t, byte(5), refused.connect(transport))
		refused.ended()
		second.deliver("still here")
		second.close()
	})
}

func TestConnectionEndsWithItsToken(t *testing.T) {
	// live returns how long a connection lasts whose device pings now and then.
	live := func(c *client, transport string) time.Duration {
		require.Zero(c.t, c.connect(transport))
		start := time.Now()
		var pinging sync.WaitGroup
		defer pinging.Wait()
		pinging.Go(func() {
			for packets.NewControlPacket(packets.Pingreq).Write(c) == nil {
				time.Sleep(time.Minute + time.Second)
			}
		})
		for {
			if _, err := c.read(); err != nil {
				break
			}
		}
		c.close()
		return time.Since(start)
	}
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		assert.Equal(
			t, 65*time.Minute, live(device(t, h, "dev1"), transport),
			"an hour, and five minutes of grace",
		)
		time.AfterFunc(10*time.Minute, func() { h.network.SetClockOffset(30 * time.Minute) })
		assert.Equal(
			t, 35*time.Minute, live(device(t, h, "dev1"), transport),
			"by the hub's clock, which was set forward",
		)
	})
}

func TestSilentDeviceIsDisconnected(t *testing.T) {
	for asked, want := range map[uint16]time.Duration{
		60: 90 * time.Second, 1177: 1765500 * time.Millisecond, 0: 1767 * time.Second,
		3600: 1767 * time.Second,
	} {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			c := device(t, h, "dev1")
			c.keepAlive = asked
			require.Zero(t, c.connect(transport))
			start := time.Now()
			c.ended()
			assert.Equal(t, want, time.Since(start))
		})
	}
}

func TestRegistryRefusesNonsense(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		for want, d := range map[string]Device{
			"hubtest: a device ID has 1 to 128 characters":                                          {},
			`hubtest: device ID "a/b": '/' is not allowed`:                                          {ID: "a/b"},
			`hubtest: device "d": PrimaryKey is not base64`:                                         {ID: "d", PrimaryKey: "?"},
			`hubtest: device "d": SecondaryKey is not base64`:                                       {ID: "d", SecondaryKey: "abc"},
			`hubtest: device "d": PrimaryThumbprint is no SHA-1 or SHA-256 digest in hexadecimal`:   {ID: "d", PrimaryThumbprint: "abcd"},
			`hubtest: device "d": SecondaryThumbprint is no SHA-1 or SHA-256 digest in hexadecimal`: {ID: "d", SecondaryThumbprint: "xyz"},
		} {
			assert.EqualError(t, h.Put(d), want)
		}
		assert.Error(t, h.Put(Device{ID: strings.Repeat("x", 129)}))
		_, ok := h.Get("d")
		assert.False(t, ok)
	})
}

func TestIdentityMadeAgainIsAnother(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "d"}))
		first, _ := h.Get("d")
		require.NoError(t, h.Put(Device{ID: "d", PrimaryKey: "a2V5"}))
		changed, _ := h.Get("d")
		assert.Equal(t, first.GenerationID, changed.GenerationID)
		h.Delete("d")
		require.NoError(t, h.Put(Device{ID: "d"}))
		again, _ := h.Get("d")
		assert.NotEqual(t, first.GenerationID, again.GenerationID)
		assert.NotEqual(t, first.PrimaryKey, again.PrimaryKey)
		assert.NotEqual(t, again.PrimaryKey, again.SecondaryKey)
	})
}

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
