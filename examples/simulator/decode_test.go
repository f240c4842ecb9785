package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		"text where a number is":  "{\"limits\":{\"polls\":\"a\\nb\\u2028\"}}",
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
	f.Add([]byte(`{"hubs":null,"limits":{"polls":1e3,"retryAfter":-0},"latency":{"*":null}}`))
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
