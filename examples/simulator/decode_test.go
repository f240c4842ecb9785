// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestMembersOfTheServicesOwnObjectsAreKnown(t *testing.T) {
	// As the service API returns it, with all it fills in.
	const enrollment = `{"registrationId":"a","deviceId":"b","registrationState":{"registrationId":"a","createdDateTimeUtc":"2022-08-31T22:02:50.5163352Z",
		"assignedHub":"h","deviceId":"b","status":"assigned","substatus":"initialAssignment","lastUpdatedDateTimeUtc":"2022-08-31T22:02:50.7370676Z","etag":"e",
		"payload":{"any":"thing"}},"optionalDeviceInformation":{"x":[1]},
		"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"info":{"subjectName":"CN=a","sha1Thumbprint":"","sha256Thumbprint":"",
		"issuerName":"CN=a","notBeforeUtc":"2022-08-31T22:02:50Z","notAfterUtc":"2023-08-31T22:02:50Z","serialNumber":"1","version":3}}}}},
		"capabilities":{"iotEdge":false},"iotHubHostName":"hub-a.azure-devices.net","initialTwin":{"tags":{"a":{"b":1}},"properties":{"desired":{"c":null}}},
		"etag":"e","provisioningStatus":"enabled","reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true},
		"createdDateTimeUtc":"2022-08-31T22:02:50Z","lastUpdatedDateTimeUtc":"2022-08-31T22:02:50Z","allocationPolicy":"custom","iotHubs":[],
		"customAllocationDefinition":{"webhookUrl":"https://example.com","apiVersion":"2021-10-01"}}`
	var c config
	require.NoError(t, decode([]byte("\uFEFF{\"enrollments\":["+enrollment+"]}"), &c))
	assert.Equal(t, "b", c.Enrollments[0].DeviceID)
}

func TestPlaceOfAMistakeIsItsLine(t *testing.T) {
	var c config
	err := decode([]byte("{\n  \"hubs\": [\n    {\"hostName\": 5}\n  ]\n}"), &c)
	require.Error(t, err)
	assert.Equal(t, "line 3: hubs[0].hostName: is 5 where a string belongs", err.Error())
}

func TestValuesAreNestedOnlySoDeep(t *testing.T) {
	in := func(depth int) []byte {
		const above = 5 // that the arrays are in
		return []byte(`{"steps":[{"desired":{"patch":{"a":` + strings.Repeat("[", depth-above+1) +
			strings.Repeat("]", depth-above+1) + "}}}]}")
	}
	require.NoError(t, decode(in(maxNesting), new(scenario)))
	assert.EqualError(t, decode(in(maxNesting+1), new(scenario)),
		"line 1: values are nested more than 100 deep")
	// A path to each of these would be a terabyte.
	assert.Error(t, decode(in(1e6), new(scenario)))
}

func TestFaultsOfAScenarioAreTheSimulatorsOwn(t *testing.T) {
	var s scenario
	require.NoError(t, decode([]byte(`{"steps":[
		{"at":"1m","hub":{"host":"hub-a","on":"twinPatch","delay":"1.5s","stored":true,"cut":true}},
		{"at":"2m","dps":{"on":"poll","transport":"mqtt","delay":"2s","body":"","twice":true}},
		{"at":"3m","network":{"host":"hub-a","fault":"resetOnAccept","certificate":"unknownCA"}}]}`), &s))
	assert.Equal(t, &hubFault{"hub-a", hubtest.Fault{
		On: hubtest.TwinPatch, Delay: 1500 * time.Millisecond, Stored: true, Cut: true,
	}}, s.Steps[0].Hub)
	assert.Equal(t, &dpstest.Fault{
		On: dpstest.Poll, Transport: dpstest.MQTT, Delay: 2 * time.Second, Body: []byte{},
		Twice: true,
	}, s.Steps[1].DPS)
	assert.Equal(
		t, &networkStep{Host: "hub-a", Fault: simnet.ResetOnAccept, Certificate: simnet.UnknownCA},
		s.Steps[2].Network,
	)

	for text, says := range map[string]string{
		`{"hub":{"on":"breakfast"}}`:        `line 1: steps[0].hub.on: "breakfast" is unknown: use upgrade, connect,`,
		`{"hub":{"on":5}}`:                  `steps[0].hub.on: is 5 where a string belongs`,
		`{"hub":{"delay":5}}`:               `steps[0].hub.delay: 5 is no duration: write it as "30s" or "1m30s"`,
		`{"hub":{"twice":true}}`:            `steps[0].hub.twice: is no field: known are`,
		`{"dps":{"host":"hub-a"}}`:          `steps[0].dps.host: is no field: known are`,
		`{"dps":{"on":"lunch"}}`:            `steps[0].dps.on: "lunch" is unknown: use register, poll,`,
		`{"dps":{"body":["a"]}}`:            `steps[0].dps.body: is an array where a string belongs`,
		`{"network":{"fault":"fire"}}`:      `steps[0].network.fault: "fire" is unknown: use none,`,
		`{"network":{"certificate":"red"}}`: `steps[0].network.certificate: "red" is unknown: use valid,`,
	} {
		err := decode([]byte(`{"steps":[`+text+`]}`), new(scenario))
		require.Error(t, err, text)
		assert.Contains(t, err.Error(), says)
	}
}

func TestMistakeIsOneLineWhateverTheFileCallsItsMembers(t *testing.T) {
	for name, text := range map[string]string{
		"unknown field":           "{\"hubs\\n\\u0007\\u2028\":[]}",
		"unknown field far down":  "{\"hubs\":[{\"host\\r\\nName\":1}]}",
		"field given twice":       "{\"latency\":{\"a\\nb\":{},\"a\\nb\":{}}}",
		"wrong type in a table":   "{\"latency\":{\"a\\nb\":{\"hub\\u001b\":\"x\"}}}",
		"latency of no hub":       "{\"latency\":{\"*\":{\"hub\\nc\":5}}}",
		"no host name":            "{\"hubs\":[{\"hostName\":\"a\\nb\"}]}",
		"hub of an enrollment":    "{\"enrollments\":[{\"registrationId\":\"a\",\"iotHubs\":[\"a\\nb\"]}]}",
		"hub of a group":          "{\"enrollmentGroups\":[{\"enrollmentGroupId\":\"a\",\"iotHubs\":[\"\\u0007\"]}]}",
		"allocation policy":       "{\"allocationPolicy\":\"a\\nb\"}",
		"text where a number is":  "{\"limits\":{\"retryAfter\":\"a\\nb\\u2028\"}}",
		"control character alone": "{\"a\nb\":1}",
	} {
		t.Run(name, func(t *testing.T) {
			c := new(config)
			err := decode([]byte(text), c)
			if err == nil {
				err = c.check()
			}
			require.Error(t, err)
			for _, r := range err.Error() {
				assert.True(t, unicode.IsPrint(r), "%q in %q", r, err)
			}
		})
	}
}

// Whatever is in a file: it is refused in one line, or taken and checked.
func FuzzConfiguration(f *testing.F) {
	for _, name := range []string{"simulator.json", "faults.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"hubs":null,"limits":{"pollsPer10s":1e3,"retryAfter":-0},"latency":{"*":null}}`))
	f.Add([]byte(`{"steps":[{"desired":{"patch":{"a":` + strings.Repeat("[", maxNesting)))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, err := range []error{
			func() error {
				c := new(config)
				if err := decode(data, c); err != nil {
					return err
				}
				_ = c.service()
				return c.check()
			}(),
			func() error {
				s := new(scenario)
				if err := decode(data, s); err != nil {
					return err
				}
				for i := range s.Steps {
					if err := s.Steps[i].check([]string{"hub-a.azure-devices.net"}); err != nil {
						return err
					}
				}
				return nil
			}(),
		} {
			if err != nil && strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Errorf("not one line: %q", err)
			}
		}
	})
}

func TestArgumentsAreOneWordInAShell(t *testing.T) {
	assert.Equal(t, "a/b+c==", quoted("a/b+c=="))
	assert.Equal(t, `'it'\''s $HOME'`, quoted("it's $HOME"))
	assert.Equal(t, "''", quoted(""))
}

func TestCAOfAnotherMakeIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{caFile, caKeyFile} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("nonsense"), 0o600))
	}
	_, _, err := authority(dir)
	require.Error(t, err)
	assert.Contains(t, err.Error(), caFile)
}
