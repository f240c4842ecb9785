// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/programtest"
)

// binary is the simulator, built once.
var binary string

// devicesVariable makes a copy of the test binary the process of many devices: so many, and their
// simulator's ready line.
const devicesVariable = "REHOME_BENCH_DEVICES"

func TestMain(m *testing.M) {
	// A process that a test has started, to kill it, or to measure it.
	if os.Getenv("REHOME_STATE_WRITER") != "" || os.Getenv(devicesVariable) != "" {
		os.Exit(m.Run())
	}
	path, remove, err := programtest.Build("simulator")
	if err != nil {
		panic(err)
	}
	binary = path
	code := m.Run()
	remove()
	os.Exit(code)
}

const limit = 20 * time.Second

// ready is the ready line as programs in any language read it.
type ready struct {
	Ready                   bool              `json:"ready"`
	HTTPS                   string            `json:"https"`
	MQTT                    string            `json:"mqtt"`
	IDScope                 string            `json:"idScope"`
	DPS                     string            `json:"dps"`
	Service                 string            `json:"service"`
	Hubs                    []string          `json:"hubs"`
	Blobs                   map[string]string `json:"blobs"`
	CA                      string            `json:"ca"`
	Feed                    string            `json:"feed"`
	FeedKey                 string            `json:"feedKey"`
	Console                 string            `json:"console"`
	ServiceConnectionString string            `json:"serviceConnectionString"`
	HubConnectionStrings    map[string]string `json:"hubConnectionStrings"`
}

// program is a simulator that runs.
type program struct {
	ready
	line   string
	cmd    *exec.Cmd
	rest   chan string // what comes on standard output after the ready line, all at once
	stderr *programtest.Output
	ended  bool
}

// start runs the simulator on free ports and waits for its ready line.
func start(t testing.TB, args ...string) *program {
	t.Helper()
	p := &program{
		cmd:  exec.Command(binary, append([]string{"-https", "0", "-mqtt", "0"}, args...)...),
		rest: make(chan string, 1), stderr: new(programtest.Output),
	}
	p.cmd.Stderr = p.stderr
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	t.Cleanup(func() {
		if !p.ended {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	first := make(chan string, 1)
	go func() {
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- line
		var rest bytes.Buffer
		_, _ = r.WriteTo(&rest)
		p.rest <- rest.String()
	}()
	select {
	case p.line = <-first:
	case <-time.After(limit):
	}
	d := json.NewDecoder(strings.NewReader(p.line))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&p.ready), "ready line %q\n%s", p.line, p.stderr)
	require.True(t, p.Ready)
	return p
}

// stop ends the simulator as an init system does.
func (p *program) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case rest := <-p.rest:
		assert.Empty(t, rest, "there is more on standard output than the ready line")
	case <-time.After(limit):
		t.Fatal("the simulator does not end")
	}
	p.ended = true
	assert.NoError(t, p.cmd.Wait(), p.stderr)
}

// write writes a file of the test.
func write(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestReadyLineTellsAllThatAClientNeeds(t *testing.T) {
	t.Parallel()
	p := start(t, "-id-scope", "0ne0000beef")
	defer p.stop(t)
	assert.True(t, strings.HasSuffix(p.line, "}\n"))
	assert.Equal(t, "0ne0000beef", p.IDScope)
	assert.Equal(t, "global.azure-devices-provisioning.net", p.DPS)
	assert.Equal(t, []string{"hub-a.azure-devices.net", "hub-b.azure-devices.net"}, p.Hubs)
	for _, address := range []string{p.HTTPS, p.MQTT} {
		nc, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_ = nc.Close()
	}
	assert.FileExists(t, p.CA)
	assert.True(t, filepath.IsAbs(p.CA))
	assert.Contains(t, p.ServiceConnectionString, "HostName=")
	assert.Contains(
		t, p.ServiceConnectionString,
		";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=",
	)
	assert.Equal(t, "0ne0000beef.azure-devices-provisioning.net", p.Service)
	assert.Equal(t, map[string]string{
		"hub-a.azure-devices.net": "hub-a.blob.core.windows.net",
		"hub-b.azure-devices.net": "hub-b.blob.core.windows.net",
	}, p.Blobs)
	// Each name has a certificate of its own.
	names := append(slices.Collect(maps.Values(p.Blobs)), p.Service, p.DPS)
	for _, name := range append(names, p.Hubs...) {
		cfg := p.trust(t)
		cfg.ServerName = name
		nc, err := tls.Dial("tcp", p.HTTPS, cfg)
		require.NoError(t, err, name)
		_ = nc.Close()
	}
	for _, hub := range p.Hubs {
		assert.True(t, strings.HasPrefix(
			p.HubConnectionStrings[hub],
			"HostName="+hub+";SharedAccessKeyName=iothubowner;SharedAccessKey=",
		))
	}
}

func TestThermostatRunsByTheCommandThatIsPrinted(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]string{
		"a group": `{"enrollmentGroups":[{"enrollmentGroupId":"thermostats"}],"limits":{"retryAfter":1}}`,
		"an individual enrollment": `{"enrollments":[{"registrationId":"kitchen","attestation":{"type":"symmetricKey",
			"symmetricKey":{"primaryKey":"Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="}}}],"limits":{"retryAfter":1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "-config", write(t, "simulator.json", config), "-ca-dir", filepath.Join(
				t.TempDir(), "it's a directory",
			))
			defer p.stop(t)
			var command string
			// standard error comes by another pipe than the ready line
			require.Eventually(t, func() bool {
				for line := range strings.Lines(p.stderr.String()) {
					if strings.HasPrefix(line, "  go run") {
						command = strings.TrimSpace(line)
					}
				}
				return command != ""
			}, limit, 10*time.Millisecond, "%s", p.stderr)

			thermostat := exec.Command("sh", "-c", command)
			thermostat.Dir = filepath.Join("..", "..")
			thermostat.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // go run has a child
			stderr := new(programtest.Output)
			thermostat.Stdout, thermostat.Stderr = stderr, stderr
			require.NoError(t, thermostat.Start())
			defer func() {
				_ = syscall.Kill(-thermostat.Process.Pid, syscall.SIGTERM)
				_ = thermostat.Wait()
			}()
			require.Eventually(t, func() bool {
				return strings.Contains(stderr.String(), `msg="connected to `)
			}, time.Minute, 50*time.Millisecond, "%s\n%s", command, stderr)
		})
	}
}

func TestMistakesAreOneLineAndExitStatusTwo(t *testing.T) {
	t.Parallel()
	config := func(text string) []string {
		return []string{"-config", write(t, "simulator.json", text)}
	}
	faults := func(text string) []string {
		return []string{"-faults", write(t, "faults.json", text)}
	}
	half := t.TempDir()
	require.NoError(t, os.WriteFile(
		filepath.Join(half, "ca.pem"), []byte("-----BEGIN CERTIFICATE-----"), 0o600,
	))
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"unknown flag":            {[]string{"-port", "1"}, []string{"-port"}},
		"key for a flag":          {[]string{"-" + key}, []string{"does not exist", "-help"}},
		"key glued to a flag":     {[]string{"-id-scope" + key}, []string{"-id-scope", "-help"}},
		"key glued with a colon":  {[]string{"--state:" + key}, []string{"-state", "-help"}},
		"key with bad syntax":     {[]string{"---config" + key}, []string{"-config", "-help"}},
		"key as an argument":      {[]string{key}, []string{"an argument", "no flag"}},
		"connection as argument":  {[]string{connectionString}, []string{"an argument", "no flag"}},
		"connection as a port":    {[]string{"-https", connectionString}, []string{"-https", "a whole number"}},
		"connection as a scope":   {[]string{"-id-scope", connectionString}, []string{"-id-scope", "letters and digits"}},
		"connection as a file":    {[]string{"-config", connectionString}, []string{"-config", "no such file"}},
		"key as a file":           {[]string{"-faults", key}, []string{"-faults", "no such file"}},
		"port that is no number":  {[]string{"-mqtt", "eight"}, []string{"-mqtt", "a whole number"}},
		"flag without a value":    {[]string{"-config"}, []string{"-config", "needs an argument"}},
		"argument":                {[]string{"simulator.json"}, []string{"simulator.json", "no flag"}},
		"no port":                 {[]string{"-https", "70000"}, []string{"-https", "70000"}},
		"one port for both":       {[]string{"-https", "8443", "-mqtt", "8443"}, []string{"-https", "-mqtt", "8443"}},
		"file missing":            {[]string{"-config", "/nowhere/simulator.json"}, []string{"/nowhere/simulator.json"}},
		"no json":                 {config("hubs: []"), []string{"simulator.json", "line 1"}},
		"empty file":              {config(""), []string{"simulator.json", "empty"}},
		"ends early":              {config("{\n\"hubs\": ["), []string{"simulator.json", "line 2", "ends too early"}},
		"two objects":             {config("{}\n{}"), []string{"simulator.json", "line 2"}},
		"unknown field":           {config(`{"hub": []}`), []string{"simulator.json", "hub:", "hubs"}},
		"letter case":             {config(`{"idscope": "x"}`), []string{"simulator.json", "idscope", `"idScope"`}},
		"unknown field far down":  {config(`{"enrollmentGroups":[{"enrollmentGroupId":"g","attestation":{"x509":{"signingCertificate":{}}}}]}`), []string{"enrollmentGroups[0].attestation.x509.signingCertificate:", "signingCertificates"}},
		"field in the policy":     {config(`{"enrollments":[{"registrationId":"a"},{"registrationId":"b","reprovisionPolicy":{"migrate":true}}]}`), []string{"enrollments[1].reprovisionPolicy.migrate:"}},
		"field given twice":       {config("{\"idScope\":\"a\",\n\"idScope\":\"b\"}"), []string{"line 2", "idScope", "twice"}},
		"wrong type":              {config(`{"hubs":[{"hostName":"hub-a.azure-devices.net","allocationWeight":"5"}]}`), []string{"hubs[0].allocationWeight", "whole number"}},
		"object for an array":     {config(`{"hubs":{}}`), []string{"hubs:", "array"}},
		"weight":                  {config(`{"hubs":[{"hostName":"hub-a.azure-devices.net","allocationWeight":1001}]}`), []string{"hubs[0].allocationWeight", "1000"}},
		"host name":               {config(`{"hubs":[{"hostName":"https://hub-a"}]}`), []string{"hubs[0].hostName", "https://hub-a"}},
		"hub twice":               {config(`{"hubs":[{"hostName":"hub-a.net"},{"hostName":"HUB-A.net"}]}`), []string{"hubs[1].hostName"}},
		"one storage for two":     {config(`{"hubs":[{"hostName":"hub-a.azure-devices.net"},{"hostName":"hub-a"}]}`), []string{"simulator.json", "hubs[1].hostName", "hub-a.blob.core.windows.net"}},
		"credential sync":         {config(`{"hubs":[{"hostName":"hub-a.net","credentialSync":"no"}]}`), []string{"hubs[0].credentialSync", "true or false"}},
		"issuer":                  {config(`{"issuer":{"pem":true}}`), []string{"issuer.pem", "documentedKeys"}},
		"certificate policy":      {config(`{"certificatePolicies":[{"namespaceName":"fleet"}]}`), []string{"certificatePolicies[0]", "3 to 63"}},
		"half a policy":           {config(`{"enrollments":[{"registrationId":"a","attestation":{"type":"symmetricKey"},"namespaceName":"fleet"}]}`), []string{"enrollments[0]", "all three, or none"}},
		"connection profile":      {config(`{"hubs":[{"hostName":"hub-a.net","connectionProfile":"mqtt5"}]}`), []string{"hubs[0].connectionProfile", "mqttV5"}},
		"allocation policy":       {config(`{"allocationPolicy":"random"}`), []string{"allocationPolicy", "random"}},
		"enrollment's key":        {config(`{"enrollments":[{"registrationId":"a","attestation":{"symmetricKey":{"primaryKey":"x"}}}]}`), []string{"enrollments[0]", "primaryKey"}},
		"enrollment's id":         {config(`{"enrollments":[{"registrationId":"a b"}]}`), []string{"enrollments[0]", "registrationId"}},
		"enrolled twice":          {config(`{"enrollments":[{"registrationId":"a"},{"registrationId":"A"}]}`), []string{"enrollments[1].registrationId", `"A" is enrolled twice`}},
		"group enrolled twice":    {config(`{"enrollmentGroups":[{"enrollmentGroupId":"g-1"},{"enrollmentGroupId":"G-1"}]}`), []string{"enrollmentGroups[1].enrollmentGroupId", `"G-1" is enrolled twice`}},
		"enrollment's hub":        {config(`{"enrollments":[{"registrationId":"a","iotHubs":["hub-c.net"]}]}`), []string{"enrollments[0].iotHubs", "hub-c.net"}},
		"limit":                   {config(`{"limits":{"registrationsPerMinute":-1}}`), []string{"limits.registrationsPerMinute", "-1"}},
		"latency of no hub":       {config(`{"latency":{"*":{"hub-c.net":5}}}`), []string{`latency["*"]`, "hub-c.net"}},
		"negative latency":        {config(`{"latency":{"*":{"hub-a.azure-devices.net":-5}}}`), []string{`latency["*"]["hub-a.azure-devices.net"]`}},
		"step without a time":     {faults(`{"steps":[{"at":5,"clear":true}]}`), []string{"faults.json", "steps[0].at", "30s"}},
		"step without an action":  {faults(`{"steps":[{"at":"5s"}]}`), []string{"faults.json", "steps[0]"}},
		"step with two":           {faults(`{"steps":[{"at":"5s","clear":true,"cut":"hub-a.azure-devices.net"}]}`), []string{"faults.json", "steps[0]"}},
		"step for an unknown hub": {faults(`{"steps":[{"at":"5s","cut":"hub-c.net"}]}`), []string{"steps[0].cut", "hub-c.net"}},
		"fault that is none":      {faults(`{"steps":[{"at":"5s","network":{"host":"hub-a.azure-devices.net","fault":"fire"}}]}`), []string{"steps[0].network.fault", "blackhole"}},
		"stage that is none":      {faults(`{"steps":[{"at":"5s","hub":{"host":"hub-a.azure-devices.net","on":"breakfast"}}]}`), []string{"steps[0].hub.on", "twinGet"}},
		"status that is none":     {faults(`{"steps":[{"at":"5s","dps":{"on":"register","status":42}}]}`), []string{"steps[0].dps.status", "42"}},
		"status of a hub":         {faults(`{"steps":[{"at":"5s","hub":{"host":"hub-a.azure-devices.net","on":"upgrade","status":99999}}]}`), []string{"steps[0].hub.status", "99999"}},
		"negative delay":          {faults(`{"steps":[{"at":"5s","dps":{"delay":"-3s"}}]}`), []string{"steps[0].dps.delay", "-3s"}},
		"negative skip":           {faults(`{"steps":[{"at":"5s","dps":{"skip":-1}}]}`), []string{"steps[0].dps.skip", "-1"}},
		"negative times":          {faults(`{"steps":[{"at":"5s","dps":{"times":-2}}]}`), []string{"steps[0].dps.times", "-2"}},
		"id scope":                {config(`{"idScope":"a/b"}`), []string{"simulator.json", "idScope", "a/b"}},
		"id scope of the flag":    {[]string{"-id-scope", "a b"}, []string{"-id-scope", "a b"}},
		"enrollment of nobody":    {faults(`{"steps":[{"at":"5s","enrollment":{"allocationPolicy":"hashed"}}]}`), []string{"steps[0].enrollment.registrationId"}},
		"enrollment's new hub":    {faults(`{"steps":[{"at":"5s","enrollment":{"registrationId":"a","iotHubs":["hub-c.net"]}}]}`), []string{"steps[0].enrollment.iotHubs", "hub-c.net"}},
		"weight of a step":        {faults(`{"steps":[{"at":"5s","weight":{"hub":"hub-a.azure-devices.net","weight":0}}]}`), []string{"steps[0].weight.weight", "1000"}},
		"method without a name":   {faults(`{"steps":[{"at":"5s","method":{"deviceId":"a"}}]}`), []string{"steps[0].method"}},
		"patch without a change":  {faults(`{"steps":[{"at":"5s","desired":{"deviceId":"a","hub":"hub-a.azure-devices.net"}}]}`), []string{"steps[0].desired.patch"}},
		"chain that is none":      {faults(`{"steps":[{"at":"5s","dps":{"chain":"rusty"}}]}`), []string{"steps[0].dps.chain", "otherKey"}},
		"chain of a poll":         {faults(`{"steps":[{"at":"5s","dps":{"on":"poll","chain":"expired"}}]}`), []string{"steps[0].dps.chain", "issue", "poll"}},
		"chain of a CONNECT":      {faults(`{"steps":[{"at":"5s","hub":{"host":"hub-a.azure-devices.net","on":"connect","chain":"expired"}}]}`), []string{"steps[0].hub.chain", "issueEnd"}},
		"wait of a renewal":       {faults(`{"steps":[{"at":"5s","hub":{"host":"hub-a.azure-devices.net","on":"issueStart","code":429002,"retryAfter":"soon"}}]}`), []string{"steps[0].hub.retryAfter", "soon"}},
		"revoked nobody":          {faults(`{"steps":[{"at":"5s","revokeDevice":{"hub":"hub-a.azure-devices.net"}}]}`), []string{"steps[0].revokeDevice.deviceId"}},
		"revoked nowhere":         {faults(`{"steps":[{"at":"5s","revokeDevice":{"deviceId":"a"}}]}`), []string{"steps[0].revokeDevice.hub"}},
		"half an authority":       {faults(`{"steps":[{"at":"5s","revokeAuthority":{"namespaceName":"fleet"}}]}`), []string{"steps[0].revokeAuthority.namespaceName"}},
		"half a deleted policy":   {faults(`{"steps":[{"at":"5s","deletePolicy":{"namespaceName":"fleet","certificateAuthorityName":"ica1"}}]}`), []string{"steps[0].deletePolicy", "certificatePolicyName"}},
		"sync of no hub":          {faults(`{"steps":[{"at":"5s","syncCredentials":"hub-c.net"}]}`), []string{"steps[0].syncCredentials", "hub-c.net"}},
		"console without a port":  {[]string{"-console", "localhost"}, []string{"-console", "127.0.0.1:8080"}},
		"key for a console":       {[]string{"-console", key + ":1x"}, []string{"-console", "port"}},
		"repeat too soon":         {faults(`{"repeat":"5s","steps":[{"at":"50s","clear":true}]}`), []string{"repeat"}},
		"webhook":                 {config(`{"webhook":{"url":"127.0.0.1:80/?code=` + key + `"}}`), []string{"webhook.url", "http://"}},
		"webhook of the flag":     {[]string{"-webhook", "ftp://x/" + key}, []string{"-webhook", "http://"}},
		"webhook's batch":         {config(`{"webhook":{"maxMessages":5000}}`), []string{"webhook.maxMessages", "1000"}},
		"feed's bound":            {config(`{"feed":{"maxEvents":-1}}`), []string{"feed.maxEvents", "-1"}},
		"feed's key":              {[]string{"-feed-key-file", write(t, "feed.key", "short")}, []string{"feed.key", "16"}},
		"file of exports":         {[]string{"-env-file", half}, []string{"-env-file", "name a file"}},
		"half a CA":               {[]string{"-ca-dir", half}, []string{"-ca-dir", "ca-key.pem"}},
		"state of something else": {[]string{"-state", write(t, "state.json", `{"hello":1}`)}, []string{"state.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := c.args
			if len(args) == 0 || args[0] != "-https" {
				args = append([]string{"-https", "0", "-mqtt", "0"}, args...)
			}
			cmd := exec.Command(binary, args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			stop := time.AfterFunc(limit, func() { _ = cmd.Process.Kill() })
			err := cmd.Run()
			stop.Stop()
			require.Error(t, err, "it was taken")
			assert.Equal(t, 2, cmd.ProcessState.ExitCode(), stderr.String())
			assert.Empty(t, stdout.String())
			assert.Equal(
				t, 1, strings.Count(stderr.String(), "\n"), "not one line:\n%s", stderr.String(),
			)
			for _, text := range c.says {
				assert.Contains(t, stderr.String(), text)
			}
			for i := 0; i+8 < len(key); i += 8 {
				assert.NotContains(t, stderr.String(), key[i:i+8], "a piece of a key")
			}
		})
	}
}

// connectionString is what the simulator itself prints for operators.
const connectionString = "HostName=x.azure-devices-provisioning.net;" +
	"SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=" + key

func TestTakenPortIsAFailureAndNotAMistake(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	taken := []string{port, "another program has the port", "0 takes a free one"}
	for name, c := range map[string]struct{ args, says []string }{
		"HTTPS": {[]string{"-https", port, "-mqtt", "0"}, append(taken, "-https", "-mqtt")},
		"AMQP": {
			[]string{"-https", "0", "-mqtt", "0", "-amqp", port},
			[]string{port, "another program has the port", "-amqp 0 does without"},
		},
		"an address of another machine": {
			[]string{"-https", "0", "-mqtt", "0", "-addr", "192.0.2.1"},
			[]string{"192.0.2.1", "-addr", "this machine does not have"},
		},
	} {
		cmd := exec.Command(binary, c.args...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, name)
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), name)
		assert.Equal(t, 1, strings.Count(string(out), "\n"), string(out))
		for _, text := range c.says {
			assert.Contains(t, string(out), text, name)
		}
	}
}

func TestTwoSimulatorsShareAMachineAndOneSaysWhatItLacks(t *testing.T) {
	t.Parallel()
	one, two, none := start(t), start(t), start(t, "-amqp", "0")
	told := func(p *program) bool {
		return strings.Contains(p.stderr.String(), "another program has the port of AMQP")
	}
	assert.Eventually(t, func() bool { return told(one) || told(two) }, limit, time.Millisecond)
	for _, p := range []*program{one, two, none} {
		p.stop(t)
	}
	assert.False(t, told(none), "it was not wanted")
}

func TestHelpGoesToStandardOutput(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(binary, "-help").Output()
	require.NoError(t, err)
	for _, name := range []string{
		"-addr", "-https", "-mqtt", "-id-scope", "-ca-dir", "-config", "-faults", "-state",
		"-feed-key-file", "-webhook",
		"-console", "-env-file",
	} {
		assert.Contains(t, string(out), name+" ")
	}
}

func TestCAIsMadeOnceAndUsedAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	p := start(t, "-ca-dir", dir)
	assert.Equal(t, filepath.Join(dir, "ca.pem"), p.CA)
	first, err := os.ReadFile(p.CA)
	require.NoError(t, err)
	p.stop(t)
	p = start(t, "-ca-dir", dir)
	second, err := os.ReadFile(p.CA)
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
	p.stop(t)
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "others can read the CA's key")
}

func TestTemporaryCAIsRemovedAtTheEnd(t *testing.T) {
	t.Parallel()
	p := start(t)
	require.FileExists(t, p.CA)
	p.stop(t)
	assert.NoFileExists(t, p.CA)
}
