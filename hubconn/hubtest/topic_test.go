// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTopics(t *testing.T) {
	for topic, want := range map[string]address{
		"devices/d/messages/events/":                        {route: telemetry, identity: "d"},
		"devices/d/messages/events":                         {route: telemetry, identity: "d"},
		"devices/d/messages/events/a=b&$.mid=1":             {route: telemetry, identity: "d", bag: "a=b&$.mid=1"},
		"devices/d/modules/m/messages/events/a=b":           {route: telemetry, identity: "d/m", bag: "a=b"},
		"$iothub/twin/GET/?$rid=1":                          {route: twinGet, bag: "$rid=1"},
		"$iothub/twin/PATCH/properties/reported/?$rid=1":    {route: twinReport, bag: "$rid=1"},
		"$iothub/methods/res/200/?$rid=1":                   {route: methodResponse, status: "200", bag: "$rid=1"},
		"devices//messages/events/":                         {},
		"devices/d/modules//messages/events/":               {},
		"devices/d/messages/eventsx":                        {},
		"devices/d/messages/devicebound/":                   {},
		"$iothub/twin/GET/":                                 {},
		"$iothub/twin/PATCH/properties/desired/?$version=1": {},
		"$iothub/methods/res//?$rid=1":                      {},
		"$iothub/methods/POST/reboot/?$rid=1":               {},
		"$dps/registrations/PUT/iotdps-register/?$rid=1":    {},
		"":                            {},
		"devices":                     {},
		"/devices/d/messages/events/": {},
		"devices/d/messages/events/messages/events/devices/d/x": {route: telemetry, identity: "d", bag: "messages/events/devices/d/x"},
	} {
		got, ok := parseTopic(topic)
		if want.route == unknown {
			assert.False(t, ok, topic)
			continue
		}
		assert.True(t, ok, topic)
		assert.Equal(t, want, got, topic)
	}
}

func FuzzTopic(f *testing.F) {
	for _, topic := range []string{
		"devices/d/messages/events/a=b", "devices/d/modules/m/messages/events/",
		"$iothub/twin/GET/?$rid=1", "$iothub/methods/res/200/?$rid=1", "devices/",
	} {
		f.Add(topic)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		a, ok := parseTopic(topic)
		if !ok || a.route != telemetry {
			return
		}
		// Nobody publishes under another's name: the identity is in the topic as it is.
		device, module, isModule := strings.Cut(a.identity, "/")
		prefix := "devices/" + device + "/"
		if isModule {
			prefix += "modules/" + module + "/"
		}
		require.True(t, strings.HasPrefix(topic, prefix))
		require.NotContains(t, module, "/")
		require.NotEmpty(t, device)
	})
}

func FuzzPropertyBag(f *testing.F) {
	for _, bag := range []string{
		"a=b&c=d", "%24.mid=1&$.ct=x%2Fy/", "?a", "a=%zz&=&&", "%24.=x",
		"a%3Db=1&a=2", "%24.a%3Db=1", "%3D=x",
	} {
		f.Add(bag)
	}
	f.Fuzz(func(t *testing.T, bag string) {
		properties, system := parseBag(bag)
		for name := range properties {
			require.False(t, name == "" || strings.HasPrefix(name, "$."))
		}
		// What was understood is understood again when a client writes it as the service asks.
		var pairs []string
		for _, m := range []map[string]string{properties, system} {
			for name, value := range m {
				pairs = append(pairs, escape(name)+"="+escape(value))
			}
		}
		again, systemAgain := parseBag(strings.Join(pairs, "&"))
		require.Equal(t, properties, again)
		require.Equal(t, system, systemAgain)
	})
}
