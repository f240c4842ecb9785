// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestReadinessIsTheFirstOutcomeOfEachDevice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
	p := launch(t, s.flags(s.list(t, "sensor-1", "sensor-2")))
	status, _, text := p.request("GET", "/readyz", "")
	assert.Equal(t, http.StatusServiceUnavailable, status)
	assert.Contains(t, text, "2 identities have not had their first outcome")
	status, _, _ = p.request("GET", "/healthz", "")
	assert.Equal(t, http.StatusOK, status, "it lives")
	p.post("sensor-1", "taken all the same")
	s.network.SetFault(dpstest.GlobalEndpoint, simnet.Fault(0))
	p.ready()
	p.stop()
}

// dashboard is the one of the collector's module, and the alerts beside it.
func dashboard(t *testing.T) (names map[string]bool) {
	names = map[string]bool{}
	for _, file := range []string{"gateway.json", "alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../provisioning/promdevice/dashboard", file))
		require.NoError(t, err)
		for _, name := range regexp.MustCompile(`\brehome_\w+`).FindAllString(string(text), -1) {
			names[name] = true
		}
	}
	require.Greater(t, len(names), 10)
	return names
}

func TestMetricsAreReadByPrometheusAndFillTheDashboard(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	p.post("sensor-1", "a")
	p.ready()
	eventually(t, "it", func() bool { return len(s.bodies("sensor-1")) == 1 })
	s.hub.Disconnect("sensor-1") // there is a count of what has not happened only when it has
	metrics := ""
	eventually(t, "its end and its beginning", func() bool {
		_, _, metrics = p.request("GET", "/metrics", "")
		return strings.Contains(metrics, "\nrehome_device_disconnections_total{")
	})
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	require.NoError(t, err)
	// What only happens to a device that was issued a certificate, or was told to wait.
	unseen := map[string]bool{
		"rehome_device_certificate_first_expiry_timestamp_seconds": true,
		"rehome_device_retry_after_seconds":                        true,
		"rehome_device_failover":                                   true,
	}
	for name := range dashboard(t) {
		family := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		assert.True(t, families[name] != nil || families[family] != nil || unseen[family], name)
	}
	for name, want := range map[string]float64{
		"rehome_gateway_identities": 1, "rehome_gateway_outbox_kept_messages": 0,
	} {
		require.Contains(t, families, name)
		assert.Equal(t, want, families[name].GetMetric()[0].GetGauge().GetValue(), name)
	}
	assert.Equal(t, 1.0,
		families["rehome_gateway_outbox_delivered_total"].GetMetric()[0].GetCounter().GetValue())
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for name := range families {
		if strings.HasPrefix(name, "rehome_gateway_") {
			assert.Contains(t, string(readme), "`"+name+"`", "README.md lists it")
		}
	}
	p.stop()
}

func TestTheStatusPageAndItsJSONFindDevicesAmongMany(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	ids := []string{"a.b:c", "hall"}
	for i := range 30 {
		ids = append(ids, fmt.Sprintf("sensor-%02d", i))
	}
	p := launch(t, s.flags(s.list(t, ids...)))
	p.post("hall", "kept")
	p.ready()
	status, header, text := p.request("GET", "/", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, header.Get("Content-Security-Policy"), "default-src 'none'")
	assert.Contains(t, text, "32 devices listed")
	assert.Contains(t, text, "1–32 of 32")
	assert.NotContains(t, text, "<script")
	_, _, text = p.request("GET", "/?q=SENSOR-1&limit=4", "")
	assert.Contains(t, text, "1–4 of 10")
	assert.Contains(t, text, `href="/?limit=4&amp;offset=4&amp;q=SENSOR-1"`)
	_, _, text = p.request("GET", "/?q=sensor-1&limit=4&offset=8", "")
	assert.Contains(t, text, "9–10 of 10")
	_, _, text = p.request("GET", "/?q=%3Cscript%3E", "")
	assert.NotContains(t, text, "<script")
	status, _, _ = p.request("GET", "/?limit=0", "")
	assert.Equal(t, http.StatusBadRequest, status)
	status, _, _ = p.request("GET", "/other", "")
	assert.Equal(t, http.StatusNotFound, status)

	var list struct {
		Counts  map[string]int
		Total   int
		Devices []struct {
			ID, State, Cause, Next string
			Kept                   int
		}
	}
	eventually(t, "all of them to wait", func() bool {
		_, _, text = p.request("GET", "/v1/devices?state=waiting&q=h", "")
		require.NoError(t, json.Unmarshal([]byte(text), &list))
		return list.Counts["waiting"] == 32
	})
	require.Equal(t, 1, list.Total)
	assert.Equal(t, "hall", list.Devices[0].ID)
	assert.Equal(t, 1, list.Devices[0].Kept)
	assert.NotEmpty(t, list.Devices[0].Cause)
	assert.NotEmpty(t, list.Devices[0].Next)
	status, _, text = p.request("GET", "/v1/devices/HALL", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Contains(t, text, `"state": "waiting"`)
	status, _, _ = p.request("GET", "/v1/devices/other", "")
	assert.Equal(t, http.StatusNotFound, status)
	p.stop()
}

// manager is the service manager's side of sd_notify(3).
func manager(t *testing.T) (environ string, said func() string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // t.TempDir's may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	messages := make(chan string, 10_000)
	go func() {
		for buffer := make([]byte, 4096); ; {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			messages <- string(buffer[:n])
		}
	}()
	all := ""
	return "NOTIFY_SOCKET=" + socket, func() string {
		for {
			select {
			case m := <-messages:
				all += m + "\n"
			default:
				return all
			}
		}
	}
}

func TestTheServiceManagerHearsThatItListensHowTheDevicesAreAndThatItStops(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	environ, said := manager(t)
	p := launch(t, s.flags(s.list(t, "sensor-1")), environ, "WATCHDOG_USEC=200000")
	for _, want := range []string{
		"READY=1\n", "WATCHDOG=1\n", "STATUS=1 of 1 devices connected, 0 messages kept\n",
	} {
		eventually(t, want, func() bool { return strings.Contains(said(), want) })
	}
	p.signal(syscall.SIGHUP)
	eventually(t, "a reload", func() bool {
		_, after, reloads := strings.Cut(said(), "RELOADING=1\n")
		return reloads && strings.Contains(after, "READY=1\n")
	})
	p.stop()
	assert.Contains(t, said(), "STOPPING=1\nSTATUS=stopping: terminated\n")
}

func TestItListensAtUnixSocketsAndTakesThemOverFromOneThatWasKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir, err := os.MkdirTemp("", "gw")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "http.sock")
	args := append(s.flags(s.list(t, "sensor-1")), "-http", "unix:"+socket, "-mqtt", "none")
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for range 2 {
		p := launch(t, args)
		eventually(t, "a message to be taken", func() bool {
			r, err := client.Post("http://gateway/v1/devices/sensor-1/messages", "text/plain",
				strings.NewReader("a"))
			if err != nil {
				return false
			}
			r.Body.Close()
			return r.StatusCode == http.StatusAccepted
		})
		p.signal(syscall.SIGKILL)
		p.wait()
		client.CloseIdleConnections()
	}
}

// A request that does not end holds up the stop for a while, which is not what a second Ctrl-C is
// for. On a machine that is busy the stop may be over before it comes, so that this is tried again.
func TestASecondInterruptEndsItAtOnce(t *testing.T) {
	if signal.Ignored(os.Interrupt) {
		t.Skip("what ran the tests ignores interrupts, and so do their programs")
	}
	t.Parallel()
	s := newSite(t)
	args := s.flags(s.list(t, "sensor-1"))
	for range 5 {
		p := launch(t, args)
		address := strings.TrimPrefix(p.url(""), "http://")
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		fmt.Fprintf(c, "POST /v1/devices/sensor-1/messages HTTP/1.1\r\nHost: %s\r\n"+
			"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", address)
		line, err := bufio.NewReader(c).ReadString('\n') // it reads the body
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue")
		p.signal(os.Interrupt)
		p.await("the end to begin", 0, says("gateway stops"))
		_ = p.Cmd.Process.Signal(os.Interrupt) // it may be over already
		p.wait()
		c.Close()
		status, ok := p.Cmd.ProcessState.Sys().(syscall.WaitStatus)
		require.True(t, ok)
		if status.Signaled() {
			assert.Equal(t, syscall.SIGINT, status.Signal())
			return
		}
	}
	assert.Fail(t, "it stops in good order all the same")
}

// Where much is kept, all of it is read before senders are listened to: the service manager is told
// to be patient.
func TestTheServiceManagerIsAskedForMoreTimeWhileWhatIsKeptIsRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	list := s.list(t, "sensor-1", "sensor-2")
	p := launch(t, s.flags(list))
	p.post("sensor-1", "kept")
	p.stop()
	environ, said := manager(t)
	p = launch(t, s.flags(list), environ)
	eventually(t, "the start", func() bool { return strings.Contains(said(), "READY=1\n") })
	before, _, _ := strings.Cut(said(), "READY=1\n")
	assert.Equal(t, "EXTEND_TIMEOUT_USEC=60000000\n", before)
	p.stop()
}

func TestADeviceThatIsConnectedIsNotDownSinceAnything(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	p := launch(t, s.flags(s.list(t, "sensor-1")))
	told := func(what string) func() bool {
		return func() bool {
			_, _, text := p.request("GET", "/v1/devices/sensor-1", "")
			return strings.Contains(text, what)
		}
	}
	eventually(t, "it waits", told(`"downSince": "`))
	s.network.SetFault(hubA, simnet.Fault(0))
	eventually(t, "it is connected", told(`"state": "connected"`))
	_, _, text := p.request("GET", "/v1/devices/sensor-1", "")
	assert.NotContains(t, text, "downSince")
	p.stop()
}
