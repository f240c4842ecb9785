// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/internal/live"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestDeriveKeyReadsTheGroupKeyFromWhereItIs(t *testing.T) {
	t.Parallel()
	want, err := dps.DeriveDeviceKey(canaryGroupKey, "board")
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "group.key")
	require.NoError(t, os.WriteFile(file, []byte(canaryGroupKey+"\n"), 0o600))
	id := []string{"derive-key", "-registration-id", "board"}
	for name, r := range map[string]ran{
		"standard input": start(t, canaryGroupKey+"\n", nil, id...),
		"environment":    start(t, "", []string{"REHOME_GROUP_KEY=" + canaryGroupKey}, id...),
		"file":           start(t, "", nil, append(id, "-group-key-file", file)...),
		"dash": start(t, canaryGroupKey, []string{"REHOME_GROUP_KEY="},
			append(id, "-group-key-file", "-")...),
	} {
		assert.Equal(t, ran{stdout: want + "\n"}, r, name)
	}
	r := start(t, canaryGroupKey, nil, append(id, "-format", "json")...)
	assert.JSONEq(t, `{"registrationId": "board", "key": "`+want+`"}`, r.stdout)
}

func TestRegisterAndLookupShowTheAssignment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run("lookup")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "404201", "it is not registered yet")

	r = s.run("register", "-store", s.store())
	require.Equal(t, 0, r.code, r.stderr)
	for _, says := range []string{
		"status         assigned", "hub            " + hubA, "device id      board",
		"substatus      initialAssignment",
	} {
		assert.Contains(t, r.stdout, says)
	}
	assert.NoDirExists(t, s.store(), "nothing is stored")
	assert.Equal(t, 1, s.dps.Count(dpstest.Register))

	r = s.run("lookup", "-format", "json")
	require.Equal(t, 0, r.code, r.stderr)
	var got assignment
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	assert.Equal(t, []string{"assigned", hubA, "board", "board"},
		[]string{got.Status, got.Hub, got.DeviceID, got.RegistrationID})
	assert.Equal(t, 1, s.dps.Count(dpstest.Register), "it registers no device")
}

func TestSendDeliversOneMessageOrTheLinesOfItsInput(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run("send", "-store", s.store(), "-body", `{"t":1}`, "-property", "room=a=b",
		"-property", "floor=")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "1 message sent to "+hubA)
	r = s.runWith("two\nthree\n", "send", "-store", s.store(), "-format", "json")
	require.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, `"sent":2,"hub":"`+hubA+`"`)
	r = s.run("send", "-store", s.store(), "-body", "four", "-over", "https", "-content-type",
		"text/plain")
	require.Equal(t, 0, r.code, r.stderr)

	messages := s.hub.Messages()
	var bodies []string
	ids := map[string]bool{}
	for _, m := range messages {
		bodies = append(bodies, string(m.Body))
		ids[m.System["$.mid"]] = true
	}
	assert.Equal(t, []string{`{"t":1}`, "two", "three", "four"}, bodies)
	assert.Len(t, ids, 4, "a receiver can tell them apart")
	assert.Equal(t, map[string]string{"room": "a=b", "floor": ""}, messages[0].Properties)
	assert.Equal(t, "application/json", messages[0].System["$.ct"])
	assert.Empty(t, messages[1].System["$.ct"])
	assert.Equal(t, "text/plain", messages[3].System["$.ct"])
	assert.Equal(t, 1, s.dps.Count(dpstest.Register), "the store is used")
}

func TestSendAsAModule(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Equal(t, 0, s.run("register").code)
	require.NoError(t, s.hub.PutModule("board", hubtest.Module{
		ID: "door", PrimaryKey: canaryGroupKey,
	}))
	args := append([]string{"send"}, s.flags()...)
	r := start(t, "", []string{
		"REHOME_KEY=" + canaryKey, "REHOME_MODULE=door", "REHOME_MODULE_KEY=" + canaryGroupKey,
	}, append(args, "-body", "open")...)
	require.Equal(t, 0, r.code, r.stderr)
	messages := s.hub.Messages()
	require.Len(t, messages, 1)
	assert.Equal(t, "door", messages[0].ModuleID)
}

func TestSendSaysHowFarItGot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.runWith("one\n"+strings.Repeat("x", longestLine-1)+"\nthree\n", "send")
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^rehome send: 1 message sent, then: [^\n]+\n$`, r.stderr)

	s.network.SetFault(s.dps.Endpoint(), simnet.Refused)
	r = s.run("send", "-body", "hello", "-timeout", "1s")
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^rehome send: 0 messages sent, then: [^\n]*rehome why[^\n]*\n$`, r.stderr)
}

func TestATimeoutEndsWhatIsNotAnswered(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true})
	r := s.run("send", "-body", "hello", "-timeout", "5s")
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^rehome send: 0 messages sent, then: [^\n]*within -timeout[^\n]*\n$`, r.stderr)
	// refused, which a program without a logger is told by the default one
	r = s.run("send", "-registration-id", "other", "-body", "hello", "-timeout", "2s")
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^rehome send: 0 messages sent, then: [^\n]*do not fit each other\n$`, r.stderr)
	for range 2 { // the second may not ask yet
		r = s.run("send", "-registration-id", "third", "-body", "hello", "-timeout", "2s",
			"-store", s.store())
	}
	assert.Regexp(t, `^rehome send: 0 mess[^\n]*refused by dps: it is asked after 2[^\n]+\n$`, r.stderr)
	s.dps.Inject(dpstest.Fault{NoAnswer: true, Times: -1})
	r = s.run("lookup", "-timeout", "1s")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.stderr, "no success within -timeout")
}

func TestWatchShowsWhatComes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		flags  []string
		answer string
		says   []string
	}{
		"text": {[]string{"-answer", "echo"}, `{"after":5}`, []string{
			"connected  " + hubA + "  from registration", "desired    version 2",
			`{"led":"red"}`, `method     blink  {"after":5}`, "message    id m-1  shop=7",
			`"\x1b[2Jhello"`,
		}},
		"json": {[]string{"-format", "json"}, `{}`, []string{
			`{"event":"connected","time":"`, `"version":2,"payload":{"led":"red"}}`,
			`"name":"blink","payload":{"after":5}}`,
			`"messageId":"m-1","properties":{"shop":"7"},"payload":"\u001b[2Jhello"}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var stdout, stderr programtest.Output
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			ended := make(chan int, 1)
			go func() {
				ended <- run(ctx, append(append([]string{"watch"}, s.flags()...), row.flags...),
					[]string{"REHOME_KEY=" + canaryKey}, strings.NewReader(""), &stdout, &stderr)
			}()
			shows := func(what string) {
				t.Helper()
				require.Eventually(t, func() bool {
					return strings.Contains(stdout.String(), what)
				}, patience, 5*time.Millisecond, "%s\n%s%s", what, &stdout, &stderr)
			}
			shows(row.says[0])
			shows("desired")
			_, err := s.hub.PatchDesired("board", map[string]any{"led": "red"})
			require.NoError(t, err)
			status, answer, err := s.hub.Invoke(ctx, "board", "blink", map[string]int{"after": 5},
				hubtest.InvokeOptions{ConnectTimeout: patience, ResponseTimeout: patience})
			require.NoError(t, err)
			assert.Equal(t, 200, status)
			assert.JSONEq(t, row.answer, string(answer))
			require.NoError(t, s.hub.SendC2D("board", hubtest.C2D{
				MessageID: "m-1", Body: []byte("\x1b[2Jhello"),
				Properties: map[string]string{"shop": "7"},
			}))
			for _, says := range row.says {
				shows(says)
			}
			interrupt()
			assert.Equal(t, 0, <-ended, "Ctrl-C is how it ends")
			assert.Empty(t, stderr.String())
			assert.NotContains(t, stdout.String(), canaryKey)
			assert.NotContains(t, stdout.String(), "\x1b")
		})
	}
}

func TestStatusShowsWhatIsStored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.run("status", "-store", s.store())
	assert.Equal(t, 1, r.code, "nothing is stored")
	assert.Contains(t, r.stdout, "a start does   register")
	require.Equal(t, 0, s.run("send", "-store", s.store(), "-body", "x").code)
	asked := len(s.dps.Requests())
	r = s.run("status", "-store", s.store())
	assert.Equal(t, 3, r.code, "nothing runs")
	assert.Contains(t, r.stdout, "hub            "+hubA)
	assert.Contains(t, r.stdout, "a start does   connect")
	r = s.run("status", "-store", s.store(), "-format", "json")
	var got struct {
		Confirmed struct{ Hub string }
		Next      string
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	assert.Equal(t, hubA, got.Confirmed.Hub)
	assert.Equal(t, "connect", got.Next)
	assert.Len(t, s.dps.Requests(), asked, "it uses no network")
}

func TestARunningProgramIsShownAndLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Equal(t, 0, s.run("send", "-store", s.store(), "-body", "x").code)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- live.Serve(ctx, s.store(), "board", func() live.State {
			return live.State{State: "connected", Hub: hubA, Source: "store"}
		})
	}()
	require.Eventually(t, func() bool {
		return s.run("status", "-store", s.store()).code == 0
	}, patience, 5*time.Millisecond)
	status := s.run("status", "-store", s.store()).stdout
	assert.Equal(t, 1, strings.Count(status, "connected to "), status)
	assert.Contains(t, status, "runs           connected to ")
	s.hub.ResetLog()
	r := s.run("why", "-store", s.store())
	assert.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "a program runs as this device: connected to "+hubA)
	assert.Contains(t, r.stdout, "✓ hub tls")
	assert.Contains(t, r.stdout, "fix: with -connect")
	assert.Empty(t, s.hub.Attempts())
	s.run("why", "-store", s.store(), "-connect")
	assert.Len(t, s.hub.Attempts(), 1)
	stop()
	<-ended
}

// What the simulator prints to export for programs serves this one, too.
func TestTheVariableOfTheSimulatorLeadsThere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	line, err := json.Marshal(map[string]string{
		"https": s.network.HTTPSAddr(), "mqtt": s.network.MQTTAddr(),
		"ca": filepath.Join(s.dir, "ca.pem"),
	})
	require.NoError(t, err)
	file := s.write("ready.json", append(line, "\nmore\n"...))
	for _, value := range []string{string(line), file} {
		r := start(t, "", []string{
			"REHOME_KEY=" + canaryKey, "REHOME_SIMULATOR=" + value,
		}, "why", "-id-scope", s.dps.IDScope(), "-registration-id", "board", "-register")
		assert.Equal(t, 0, r.code, r.stderr)
		assert.Contains(t, r.stdout, "REHOME_SIMULATOR leads from "+hubA+":8883 to ")
		assert.Contains(t, r.stdout, "✓ hub ")
	}
}

// What why finds is tested in package diagnosis; here is what it prints of that.
func TestWhyExplainsEachStep(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.Equal(t, 0, s.run("send", "-store", s.store(), "-body", "x").code)
	r := s.run("why", "-store", s.store())
	assert.Equal(t, 0, r.code, r.stderr)
	assert.Empty(t, r.stderr)
	for _, says := range []string{
		"✓ settings", "✓ store", "✓ dps name", "-connect-to leads from", "✓ dps tcp", "✓ dps tls",
		"root: CN=Simulated Root", "✓ clock", "✓ dps", "assigned to hub " + hubA, "✓ hub tcp",
		"✓ hub tls", "✓ hub ", "connack 0", "What the device does next:\n  - a start connects",
	} {
		assert.Contains(t, r.stdout, says)
	}

	_, https, err := net.SplitHostPort(s.network.HTTPSAddr())
	require.NoError(t, err)
	s.network.SetDefault(s.dps.Endpoint())
	r = s.run("why", "-endpoint", "127.0.0.1:"+https, "-no-connect")
	assert.Equal(t, 0, r.code, r.stderr)
	assert.Contains(t, r.stdout, "127.0.0.1 is an address")
	assert.Contains(t, r.stdout, "✓ dps tls")

	s.hub.Delete("board")
	r = s.run("why", "-store", s.store())
	assert.Equal(t, 1, r.code)
	assert.Regexp(t, `^rehome why: step "hub" fails: [^\n]+\n$`, r.stderr)
	assert.Contains(t, r.stdout, "✗ hub ")
	assert.Contains(t, r.stdout, "fix: enable it at the hub")

	r = s.run("why", "-store", s.store(), "-format", "json")
	assert.Equal(t, 1, r.code)
	var got struct {
		Failed, Fix string
		Next        []string
		Steps       []struct {
			Step, Result string
			Seconds      float64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	assert.Equal(t, "hub", got.Failed)
	assert.NotEmpty(t, got.Fix)
	assert.Len(t, got.Steps, 11)
	assert.Len(t, got.Next, 2)
	for _, step := range got.Steps {
		if step.Step == "dps tls" {
			assert.Positive(t, step.Seconds)
		}
	}
}
