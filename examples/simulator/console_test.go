// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// post does what the console's page does, and returns the status and what was said.
func (p *program) post(t *testing.T, path string, body any) (int, string) {
	t.Helper()
	data, err := json.Marshal(body)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(
		t.Context(), "POST", p.Console+path, bytes.NewReader(data),
	)
	require.NoError(t, err)
	r.Header.Set("X-Console", "1")
	response, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(text)
}

type object = map[string]any

func (p *program) do(t *testing.T, step object) {
	t.Helper()
	status, text := p.post(t, "api/do", object{"steps": []object{step}})
	require.Equal(t, 200, status, text)
}

func TestAnOperatorsStepsAreCarriedOut(t *testing.T) {
	t.Parallel()
	p := start(t, "-console", "127.0.0.1:0", "-config", write(t, "simulator.json", `{
		"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"`+key+`"}},
			"allocationPolicy":"static","iotHubs":["`+hubA+`"]}],
		"enrollmentGroups": [{"enrollmentGroupId":"group"}], `+little+`}`))
	defer p.stop(t)
	a := p.register(t, "kitchen")
	require.Equal(t, hubA, a.Hub)
	c := p.connect(t, a, "kitchen")
	called := make(chan string, 1)
	go func() {
		_ = c.HandleMethods(t.Context(), hubconn.Methods{Handlers: map[string]hubconn.MethodHandler{
			"reprovision": func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
				called <- "reprovision"
				return 202, nil, nil
			},
			"broken": func(context.Context, hubconn.MethodRequest) (int, any, error) {
				return 500, nil, nil
			},
		}})
	}()
	require.Eventually(t, func() bool {
		status, _ := p.post(t, "api/do", object{"steps": []object{
			{"method": object{"deviceId": "kitchen", "name": "reprovision"}},
		}})
		return status == 200
	}, limit, 50*time.Millisecond)
	assert.Equal(t, "reprovision", <-called)

	status, text := p.post(t, "api/do", object{"steps": []object{
		{"method": object{"deviceId": "kitchen", "name": "broken"}},
	}})
	assert.Equal(t, 400, status)
	assert.Contains(t, text, "500")

	p.do(t, object{"desired": object{
		"hub": hubA, "deviceId": "kitchen", "patch": object{"target": 23},
	}})
	twin, err := c.Twin(t.Context())
	require.NoError(t, err)
	assert.JSONEq(t, `{"target":23}`, string(twin.Desired.JSON))
	p.do(t, object{"weight": object{"hub": hubB, "weight": 9}})
	p.do(t, object{"enrollment": object{
		"enrollmentGroupId": "group", "reprovisionPolicy": object{"updateHubAssignment": false},
	}})
	p.do(t, object{"enrollment": object{"registrationId": "kitchen", "iotHubs": []string{hubB}}})
	assert.Equal(t, hubB, p.register(t, "kitchen").Hub)

	p.do(t, object{"syncCredentials": hubB})
	p.connect(t, p.register(t, "kitchen"), "kitchen")
	p.do(t, object{"revokeDevice": object{"hub": hubB, "deviceId": "kitchen"}})
	require.Eventually(t, func() bool {
		return strings.Contains(p.stderr.String(), `step="revoke the certificates of kitchen at `)
	}, limit, time.Millisecond)

	for name, step := range map[string]object{
		"no authority": {"revokeAuthority": object{
			"namespaceName": "fleet", "certificateAuthorityName": "ica9",
		}},
		"no hub":        {"cut": "hub-c.net"},
		"no such field": {"cutt": hubA},
		"for":           {"network": object{"host": hubA, "stall": true}, "for": "5s"},
		"nobody":        {"method": object{"deviceId": "nobody", "name": "x"}},
		"no enrollment": {"enrollment": object{"registrationId": "nobody"}},
		"two hubs": {"enrollment": object{
			"registrationId": "kitchen", "iotHubs": []string{hubA, hubB},
		}},
	} {
		status, text := p.post(t, "api/do", object{"steps": []object{step}})
		assert.Equal(t, 400, status, "%s: %s", name, text)
	}
	status, text = p.post(t, "api/play", object{
		"scenario": object{"steps": []object{{"at": "1s"}}},
	})
	assert.Equal(t, 400, status)
	assert.Contains(t, text, "steps[0].at")
	status, _ = p.post(t, "api/play", object{"scenario": object{
		"steps": []object{{"at": "0s", "unlink": hubA}}},
	})
	assert.Equal(t, 200, status)
}

func TestThereIsNoConsoleUnlessAskedFor(t *testing.T) {
	t.Parallel()
	p := start(t)
	assert.Empty(t, p.Console)
	p.stop(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cmd := exec.Command(
		binary, "-https", "0", "-mqtt", "0", "-console", l.Addr().String(),
	)
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	assert.Equal(t, 1, cmd.ProcessState.ExitCode(), "a taken port is a failure")
	assert.Contains(t, string(out), "-console")
	assert.Equal(t, 1, bytes.Count(out, []byte("\n")), string(out))
}
