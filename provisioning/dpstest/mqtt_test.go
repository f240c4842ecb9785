// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// onMQTT runs a test over both ways to carry MQTT.
func onMQTT(t *testing.T, f func(w *world, transport string)) {
	for _, transport := range []string{dpstest.MQTT, dpstest.WebSocket} {
		t.Run(transport, func(t *testing.T) {
			inBubble(t, dpstest.Config{}, func(w *world) { f(w, transport) })
		})
	}
}

func TestTokenIsJudgedAtRegistrationNotAtConnect(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		d := w.mqtt(transport, "dev", userName("dev", version), byKey("dev", derived(key1, "x")))
		defer d.close()
		assert.Equal(w.t, byte(0), d.connack.ReturnCode)
		assert.False(w.t, d.connack.SessionPresent)
		require.Equal(w.t, []byte{1}, d.subscribe("$dps/registrations/res/#", 1))
		r := d.register("")
		assert.Equal(w.t, "$dps/registrations/res/401/?$rid=7", r.topic)
		b := r.decode(w.t)
		assert.Len(w.t, members(w.t, r.raw), 4)
		assert.Equal(w.t, 401000, b.ErrorCode)
		assert.Equal(w.t, "Unauthorized", b.Message)
		assert.NotEmpty(w.t, b.TrackingID)
		assert.Equal(w.t, 401, d.register("").status, "the connection stays")
	})
}

func TestIdentityIsJudgedAtConnect(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		for _, user := range []string{
			userName("other", version), "", "dev", scope + "/registrations/",
			"/registrations/dev/api-version=" + version,
		} {
			d := w.mqtt(transport, "dev", user, byKey("dev", key1))
			assert.Equal(w.t, byte(5), d.connack.ReturnCode, user)
			d.ended()
		}
		log := w.dps.Requests()
		assert.Len(w.t, log, 5)
		assert.Equal(w.t, byte(5), log[0].ReturnCode)

		for _, user := range []string{
			scope + "/registrations/dev/api-version=2019-03-31",
			scope + "/registrations/dev/?api-version=2019-03-31",
			scope + "/registrations/dev/ClientVersion=a/b%201&api-version=2019-03-31",
			"0NE00000001/registrations/DEV/api-version=2018-11-01&ClientVersion=",
		} {
			d := w.mqtt(transport, "dev", user, byKey("dev", key1))
			assert.Equal(w.t, byte(0), d.connack.ReturnCode, user)
			d.subscribe("$dps/registrations/res/#", 1)
			assert.Equal(w.t, 202, d.register("").status, user)
			d.close()
		}
	})
}

func TestWrongScopeAndVersionAreToldAtRegistration(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		for user, code := range map[string]int{
			"0ne0000FFFF/registrations/dev/api-version=2019-03-31": 404000,
			scope + "/registrations/dev":                           400000,
			scope + "/registrations/dev/api-version=2001-01-01":    400000,
		} {
			d := w.mqtt(transport, "dev", user, byKey("dev", key1))
			d.subscribe("$dps/registrations/res/#", 1)
			assert.Equal(w.t, code, d.register("").decode(w.t).ErrorCode)
			d.close()
		}
	})
}

func TestResponseTopics(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		defer d.close()
		r := d.request(
			"$dps/registrations/PUT/iotdps-register/?$rid=e1b1c5a0-1%2F", `{"payload":{}}`,
		)
		assert.Equal(
			w.t, "$dps/registrations/res/202/?$rid=e1b1c5a0-1%2F&retry-after=3", r.topic,
			"$rid first, as it was sent",
		)
		op := r.decode(w.t).OperationID
		r = d.request(
			"$dps/registrations/GET/iotdps-get-operationstatus/?operationId="+op+"&$rid=2", " ",
		)
		assert.Equal(w.t, "$dps/registrations/res/202/?$rid=2&retry-after=3", r.topic)
		time.Sleep(3 * time.Second)
		r = d.request(
			"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=3&operationId="+op, "",
		)
		assert.Equal(w.t, "$dps/registrations/res/200/?$rid=3", r.topic)
		r = d.request("$dps/registrations/GET/iotdps-get-operationstatus/?$rid=4&operationId=x", "")
		assert.Equal(w.t, "$dps/registrations/res/404/?$rid=4", r.topic)
		assert.Equal(w.t, 404203, r.decode(w.t).ErrorCode)
	})
}

func TestAnswersComeAtTheGrantedQoS(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		for asked, granted := range []byte{0, 1, 1} {
			d := w.mqtt(transport, "dev", userName("dev", version), byKey("dev", key1))
			assert.Equal(w.t, []byte{granted}, d.subscribe("$dps/registrations/res/#", byte(asked)))
			d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 0)
			cp := d.read() // no acknowledgement of a message at QoS 0
			require.IsType(w.t, &packets.PublishPacket{}, cp)
			assert.Equal(w.t, granted, cp.(*packets.PublishPacket).Qos)
			d.close()
		}
	})
}

func TestOnlyTheResponseFilterIsGranted(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		d := w.mqtt(transport, "dev", userName("dev", version), byKey("dev", key1))
		defer d.close()
		for _, filter := range []string{
			"#", "$dps/#", "$dps/registrations/res/+", "$dps/registrations/res/200/#",
			"$iothub/methods/POST/#",
		} {
			assert.Equal(w.t, []byte{0x80}, d.subscribe(filter, 1), filter)
		}
		d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 1)
		require.IsType(w.t, &packets.PubackPacket{}, d.read())
		assert.Equal(
			w.t, []byte{1}, d.subscribe("$dps/registrations/res/#", 1),
			"without a subscription there was no answer",
		)
	})
}

func TestOtherTopicsEndTheConnection(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		for _, topic := range []string{
			"devices/dev/messages/events/", "$dps/registrations/PUT/iotdps-register/",
			"$dps/registrations/PUT/iotdps-register/?rid=1",
			"$dps/registrations/POST/iotdps-get-registration/?$rid=1", // a status lookup exists over HTTPS only
			"$dps/registrations/res/200/?$rid=1",
			"$dps/registrations/PUT/iotdps-register/?$rid=" + strings.Repeat("x", 60_000),
		} {
			d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
			d.publish(topic, "", 1)
			d.ended()
		}
		d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 2)
		d.ended()
		assert.Zero(w.t, w.dps.Count(dpstest.Register))
	})
}

func TestPingsAreAnsweredWhileAnAnswerIsHeldBack(t *testing.T) {
	onMQTT(t, func(w *world, transport string) {
		w.enroll("dev")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Delay: time.Minute})
		d := w.device(transport, "dev", byKey("dev", key1)).(*mqttDevice)
		defer d.close()
		start := time.Now()
		d.publish("$dps/registrations/PUT/iotdps-register/?$rid=1", "", 1)
		require.IsType(w.t, &packets.PubackPacket{}, d.read())
		require.NoError(w.t, packets.NewControlPacket(packets.Pingreq).Write(d.stream))
		require.IsType(w.t, &packets.PingrespPacket{}, d.read())
		assert.Zero(w.t, time.Since(start))
		assert.Equal(w.t, 202, d.response().status)
		assert.Equal(w.t, time.Minute, time.Since(start))
	})
}
