// SPDX-License-Identifier: Apache-2.0

package promdevice_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/promdevice"
)

// A program serves what its devices do at /metrics.
func Example() {
	registry := prometheus.NewRegistry() // or the default one
	devices := &promdevice.Collector{}
	registry.MustRegister(devices)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	s := devicetest.New() // a program has a Device of its own, without the simulators
	defer s.Close()
	s.Device.Trace = devices.Trace(nil)
	err := s.Device.Run(context.Background(), func(ctx context.Context, hub *hubconn.Conn) error {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte("hello")}); err != nil {
			return err
		}
		return show(server.URL)
	})
	fmt.Println(err)
	// Output:
	// rehome_device_dps_requests_total{kind="register",outcome="ok",reason="nothing remembered"} 1
	// rehome_device_messages_sent_total 1
	// rehome_devices{state="connected",trouble=""} 1
	// <nil>
}

// show prints three of the lines that Prometheus would scrape.
func show(url string) error {
	page, err := http.Get(url)
	if err != nil {
		return err
	}
	defer page.Body.Close()
	for lines := bufio.NewScanner(page.Body); lines.Scan(); {
		for _, name := range []string{
			"rehome_device_dps_requests_total{", "rehome_device_messages_sent_total ",
			`rehome_devices{state="connected"`,
		} {
			if strings.HasPrefix(lines.Text(), name) {
				fmt.Println(lines.Text())
			}
		}
	}
	return nil
}
