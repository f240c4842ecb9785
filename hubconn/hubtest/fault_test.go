// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func TestAnyReturnCodeAtOnceOrLate(t *testing.T) {
	for _, code := range []byte{1, 2, 3, 4, 5, 6, 0x87, 0xff} {
		for _, delay := range []time.Duration{0, 54 * time.Second} {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				h.Inject(Fault{On: Connect, ReturnCode: code, Delay: delay})
				c := device(t, h, "dev1")
				c.start(transport)
				start := time.Now()
				assert.Equal(t, code, c.receive().(*packets.ConnackPacket).ReturnCode)
				assert.Equal(t, delay, time.Since(start))
				c.ended()
				assert.Equal(t, code, last(t, h).ReturnCode)
				assert.Equal(t, "injected fault", last(t, h).Reason)
				require.Zero(t, c.connect(transport), "it was for once")
				c.close()
			})
		}
	}
}

func TestConnectThatIsSlowOrLost(t *testing.T) {
	t.Run("slow", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connect, Delay: 40 * time.Second})
			start := time.Now()
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			assert.Equal(t, 40*time.Second, time.Since(start))
			c.close()
		})
	})
	t.Run("not answered", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connect, NoAnswer: true})
			c := device(t, h, "dev1")
			c.start(transport)
			c.silent(50 * time.Minute)
			assert.False(t, last(t, h).Answered)
			assert.False(t, last(t, h).Accepted())
			c.close()
			require.Zero(t, c.connect(transport))
			c.close()
		})
	})
	t.Run("cut", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connect, Cut: true})
			c := device(t, h, "dev1")
			c.start(transport)
			assert.ErrorIs(t, c.ended(), syscall.ECONNRESET)
			assert.False(t, last(t, h).Answered)
		})
	})
	t.Run("closed", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connect, Close: true})
			c := device(t, h, "dev1")
			c.start(transport)
			assert.NotErrorIs(t, c.ended(), syscall.ECONNRESET)
		})
	})
	t.Run("stalled", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connect, Stall: true})
			c := device(t, h, "dev1")
			c.start(transport)
			c.silent(24 * time.Hour)
			c.close()
		})
	})
}

func TestLinkThatIsLostAfterConnecting(t *testing.T) {
	for name, f := range map[string]Fault{"cut": {Cut: true}, "closed": {Close: true}} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, h *Hub, transport string) {
				f.On, f.Delay = Connected, 20*time.Second
				h.Inject(f)
				c := device(t, h, "dev1")
				require.Zero(t, c.connect(transport))
				start := time.Now()
				assert.Equal(t, f.Cut, errors.Is(c.ended(), syscall.ECONNRESET))
				assert.Equal(t, 20*time.Second, time.Since(start))
			})
		})
	}
	t.Run("stalled", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Connected, Stall: true, Delay: time.Second})
			c := device(t, h, "dev1")
			c.keepAlive = 60
			require.Zero(t, c.connect(transport))
			time.Sleep(2 * time.Second)
			c.publish("devices/dev1/messages/events/", 1, 1, "into the void")
			c.silent(time.Hour)
			assert.Empty(t, h.Messages())
			assert.False(t, h.Connected("dev1"), "the hub has given it up; the device cannot know")
			c.close()
			require.Zero(t, c.connect(transport))
			c.close()
		})
	})
}

func TestPublishThatIsNotAcknowledged(t *testing.T) {
	for _, stored := range []bool{false, true} {
		want := 0
		if stored {
			want = 1
		}
		t.Run(fmt.Sprintf("stored %t", stored), func(t *testing.T) {
			t.Run("ever", func(t *testing.T) {
				onEach(t, func(t *testing.T, h *Hub, transport string) {
					h.Inject(Fault{On: Publish, NoAnswer: true, Stored: stored})
					c := device(t, h, "dev1")
					require.Zero(t, c.connect(transport))
					c.publish("devices/dev1/messages/events/", 1, 1, "lost")
					c.send(packets.NewControlPacket(packets.Pingreq))
					require.IsType(t, &packets.PingrespPacket{}, c.receive(), "the session goes on")
					c.silent(time.Minute)
					assert.Len(t, h.Messages(), want)
					c.close()
				})
			})
			t.Run("because the link is cut", func(t *testing.T) {
				onEach(t, func(t *testing.T, h *Hub, transport string) {
					h.Inject(Fault{On: Publish, Cut: true, Skip: 2, Stored: stored})
					c := device(t, h, "dev1")
					require.Zero(t, c.connect(transport))
					c.deliver("one")
					c.deliver("two")
					c.publish("devices/dev1/messages/events/", 1, 3, "three")
					assert.ErrorIs(t, c.ended(), syscall.ECONNRESET)
					assert.Len(t, h.Messages(), 2+want)
				})
			})
		})
	}
	t.Run("at once", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Publish, Delay: time.Minute})
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			start := time.Now()
			c.publish("devices/dev1/messages/events/", 1, 1, "slow")
			c.send(packets.NewControlPacket(packets.Pingreq))
			require.IsType(t, &packets.PingrespPacket{}, c.receive())
			require.IsType(t, &packets.PubackPacket{}, c.receive())
			assert.Equal(t, time.Minute, time.Since(start))
			assert.Len(t, h.Messages(), 1)
			c.close()
		})
	})
	t.Run("because the hub is out of quota", func(t *testing.T) {
		onEach(t, func(t *testing.T, h *Hub, transport string) {
			h.Inject(Fault{On: Publish, Close: true, Times: -1})
			for range 5 { // connected, then dropped, for ever
				c := device(t, h, "dev1")
				require.Zero(t, c.connect(transport))
				c.publish("devices/dev1/messages/events/", 1, 1, "refused")
				c.ended()
			}
			h.ClearFaults()
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			c.deliver("again")
			c.close()
		})
	})
}

func TestSubscribeThatFails(t *testing.T) {
	const filter = "devices/dev1/messages/devicebound/#"
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		h.Inject(Fault{On: Subscribe, SubackFailure: true})
		h.Inject(Fault{On: Subscribe, Delay: time.Minute})
		h.Inject(Fault{On: Subscribe, Cut: true})
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		assert.Equal(t, []byte{0x80}, c.subscribe(filter))
		start := time.Now()
		assert.Equal(t, []byte{0}, c.subscribe(filter))
		assert.Equal(t, time.Minute, time.Since(start))
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.MessageID, p.Topics, p.Qoss = 1, []string{filter}, []byte{0}
		c.send(p)
		assert.ErrorIs(t, c.ended(), syscall.ECONNRESET)

		h.Inject(Fault{On: Subscribe, NoAnswer: true})
		require.Zero(t, c.connect(transport))
		c.send(p)
		c.silent(time.Hour / 4)
		c.close()
	})
}

func TestFaultsOfOneDevice(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		require.NoError(t, h.Put(Device{ID: "dev2"}))
		h.Inject(Fault{On: Connect, DeviceID: "dev2", ReturnCode: 3, Skip: 1, Times: 2})
		var got []byte
		for range 5 {
			for _, id := range []string{"dev1", "dev2"} {
				c := device(t, h, id)
				code := c.connect("mqtt")
				c.close()
				if id == "dev1" {
					require.Zero(t, code)
				} else {
					got = append(got, code)
				}
			}
		}
		assert.Equal(t, []byte{0, 3, 3, 0, 0}, got)
	})
}

func TestRefusedUpgrades(t *testing.T) {
	for name, test := range map[string]struct {
		fault Fault
		check func(t *testing.T, response *http.Response, body string)
	}{
		"throttled, the hub's newer shape": {Fault{
			Status: 429, RetryAfter: "120", ErrorCode: "ThrottlingException", Code: 429001,
			Message: "slow down",
		}, func(t *testing.T, response *http.Response, body string) {
			assert.Equal(t, "120", response.Header.Get("Retry-After"))
			assert.Equal(t, "ThrottlingException", response.Header.Get("iothub-errorcode"))
			assert.Len(t, response.Header.Get("x-ms-request-id"), 32)
			var outer struct{ Message, ExceptionMessage string }
			require.NoError(t, json.Unmarshal([]byte(body), &outer))
			var inner map[string]any
			require.NoError(t, json.Unmarshal([]byte(outer.Message), &inner))
			assert.EqualValues(t, 429001, inner["errorCode"])
			assert.Equal(t, "slow down", inner["message"])
			assert.Contains(t, inner["trackingId"], response.Header.Get("x-ms-request-id"))
			assert.Contains(t, inner, "timestampUtc")
			assert.Empty(t, outer.ExceptionMessage)
		}},
		"forbidden, the hub's older shape": {Fault{Status: 403, ErrorCode: "IotHubQuotaExceeded"},
			func(t *testing.T, response *http.Response, body string) {
				assert.Empty(t, response.Header.Get("Retry-After"))
				var outer struct{ Message, ExceptionMessage string }
				require.NoError(t, json.Unmarshal([]byte(body), &outer))
				assert.Equal(t, "ErrorCode:IotHubQuotaExceeded;Forbidden", outer.Message)
				assert.Regexp(
					t, `^Tracking ID:[0-9a-f]{32}-G:4-TimeStamp:01/01/2000 00:00:0\d$`,
					outer.ExceptionMessage,
				)
			}},
		"unavailable, says a proxy": {
			Fault{Status: 503, RetryAfter: "Sat, 01 Jan 2000 00:10:00 GMT"},
			func(t *testing.T, response *http.Response, body string) {
				assert.Equal(t, "Sat, 01 Jan 2000 00:10:00 GMT", response.Header.Get("Retry-After"))
				assert.Empty(t, response.Header.Get("iothub-errorcode"))
				assert.Empty(t, response.Header.Get("x-ms-request-id"))
				assert.Equal(t, "text/html", response.Header.Get("Content-Type"))
				assert.Contains(t, body, "503 Service Unavailable")
			},
		},
		"not found": {Fault{Status: 404, ErrorCode: "DeviceNotFound", Code: 404001},
			func(t *testing.T, response *http.Response, _ string) {
				assert.Equal(t, "DeviceNotFound", response.Header.Get("iothub-errorcode"))
			}},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *simnet.Network) {
				h := NewHub(n, hubHost)
				require.NoError(t, h.Put(Device{ID: "dev1"}))
				test.fault.On = Upgrade
				h.Inject(test.fault)
				c := device(t, h, "dev1")
				response, err := c.dial("ws")
				require.Error(t, err)
				require.Equal(t, test.fault.Status, response.StatusCode)
				assert.NotEmpty(t, response.Header.Get("Date"))
				// as much of it as the library keeps: 1024 bytes
				body, err := io.ReadAll(response.Body)
				require.NoError(t, err)
				test.check(t, response, string(body))
				assert.Equal(t, Attempt{
					Time: last(t, h).Time, Transport: "ws", Answered: true,
					Status: test.fault.Status, Reason: "injected fault",
				}, last(t, h))
				assert.False(t, last(t, h).Accepted())
				require.Zero(t, c.connect("ws"))
				c.close()
				assert.Len(t, h.Attempts(), 2)
			})
		})
	}
}

func TestUpgradesThatAreLost(t *testing.T) {
	for name, f := range map[string]Fault{
		"cut": {Cut: true}, "closed": {Close: true}, "cut late": {Cut: true, Delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *simnet.Network) {
				h := NewHub(n, hubHost)
				f.On = Upgrade
				h.Inject(f)
				start := time.Now()
				_, err := device(t, h, "dev1").dial("ws")
				require.Error(t, err)
				assert.Equal(t, f.Cut, errors.Is(err, syscall.ECONNRESET))
				assert.Equal(t, f.Delay, time.Since(start))
				assert.False(t, last(t, h).Answered)
			})
		})
	}
	for name, f := range map[string]Fault{
		"not answered": {NoAnswer: true}, "stalled": {Stall: true},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, func(t *testing.T, n *simnet.Network) {
				h := NewHub(n, hubHost)
				f.On = Upgrade
				h.Inject(f)
				c := device(t, h, "dev1")
				ended := make(chan error, 1)
				go func() { _, err := c.dial("ws"); ended <- err }()
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				require.Empty(t, ended)
				assert.False(t, last(t, h).Answered)
				require.Equal(t, 1, n.Cut(hubHost))
				require.Error(t, <-ended)
			})
		})
	}
	t.Run("only slow", func(t *testing.T) {
		inMemory(t, func(t *testing.T, n *simnet.Network) {
			h := NewHub(n, hubHost)
			require.NoError(t, h.Put(Device{ID: "dev1"}))
			h.Inject(Fault{On: Upgrade, Delay: 20 * time.Second})
			start := time.Now()
			c := device(t, h, "dev1")
			require.Zero(t, c.connect("ws"))
			assert.Equal(t, 20*time.Second, time.Since(start))
			assert.Len(t, h.Attempts(), 1)
			c.close()
		})
	})
}

func TestOtherRequestsAreNotFound(t *testing.T) {
	anywhere(t, func(t *testing.T, n *simnet.Network) {
		NewHub(n, hubHost)
		response, _, err := get(t, n, n.TLSConfig(), "https://"+hubHost+"/devices/dev1/nothing")
		require.NoError(t, err)
		assert.Equal(t, 404, response.StatusCode)
		assert.Equal(t, "GenericNotFound", response.Header.Get("iothub-errorcode"))
		assert.NotEmpty(t, response.Header.Get("Date"))
		response, _, err = get(t, n, n.TLSConfig(), "https://"+hubHost+"/$iothub/websocket")
		require.NoError(t, err)
		assert.Equal(t, 400, response.StatusCode)
	})
}

// The official SDKs' end-to-end tests ask for faults by a message.
func TestDeviceAsksForAFault(t *testing.T) {
	onEach(t, func(t *testing.T, h *Hub, transport string) {
		for kind, reset := range map[string]bool{"KillTcp": true, "ShutDownMqtt": false} {
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			start := time.Now()
			c.publish(
				"devices/dev1/messages/events/AzIoTHub_FaultOperationType="+kind+
					"&AzIoTHub_FaultOperationDelayInSecs=3",
				1, 1, "",
			)
			assert.Equal(t, reset, errors.Is(c.ended(), syscall.ECONNRESET), kind)
			assert.Equal(t, 3*time.Second, time.Since(start))
		}
		assert.Empty(t, h.Messages())
		c := device(t, h, "dev1")
		require.Zero(t, c.connect(transport))
		c.publish(
			"devices/dev1/messages/events/AzIoTHub_FaultOperationType=KillAmqpSession", 1, 1, "",
		)
		require.IsType(t, &packets.PubackPacket{}, c.receive())
		c.close()
	})
}
