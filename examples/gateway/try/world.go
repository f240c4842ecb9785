// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/freeport"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const hubHost = "hub-a.azure-devices.net"

// world is the simulated cloud, the replicas, and what they need.
type world struct {
	options
	network  *simnet.Network
	dps      *dpstest.Server
	hub      *hubtest.Hub
	dir      string
	ids      []string
	replicas []*replica

	kept, refused atomic.Int64 // messages
	booted        int          // requests to DPS when all were connected for the first time
}

// groupKey is for trials: everybody can read it here.
var groupKey = base64.StdEncoding.EncodeToString([]byte("for trials alone: everybody knows it"))

func newWorld(o options) (w *world, err error) {
	w = &world{options: o}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "gateway-try"); err != nil {
		return w, err
	}
	if w.network, err = simnet.Listen(simnet.ListenConfig{}); err != nil {
		return w, err
	}
	w.hub = hubtest.NewHub(w.network, hubHost)
	w.dps = dpstest.New(w.network, dpstest.Config{
		RetryAfter: time.Second, RegistrationsPerMinute: -1,
	})
	w.dps.Link(w.hub)
	if err := w.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "sensors", Attestation: dpstest.Keys(groupKey, ""),
	}); err != nil {
		return w, err
	}
	if err := w.writeFiles(); err != nil {
		return w, err
	}
	if w.gateway == "" {
		if w.gateway, err = build(w.dir); err != nil {
			return w, err
		}
	}
	return w, w.plan()
}

// build builds the gateway from the source beside.
func build(dir string) (program string, err error) {
	list := exec.Command("go", "list", "-f", "{{.Dir}}",
		"github.com/rehome-iot/rehome/examples/gateway")
	source, err := list.Output()
	if err != nil {
		return "", errors.New("the gateway's source is not found: run this in examples/gateway, " +
			"or name a gateway by -gateway")
	}
	program = filepath.Join(dir, "gateway")
	command := exec.Command("go", "build", "-o", program, ".")
	command.Dir = strings.TrimSpace(string(source))
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return program, nil
}

// writeFiles writes the authority of the simulator, and the list of identities.
func (w *world) writeFiles() error {
	for i := range w.devices {
		w.ids = append(w.ids, fmt.Sprintf("sensor-%03d", i+1))
	}
	list := "registrationId\n" + strings.Join(w.ids, "\n") + "\n"
	return errors.Join(
		os.WriteFile(filepath.Join(w.dir, "ca.pem"), w.network.CA().PEM(), 0o600),
		os.WriteFile(filepath.Join(w.dir, "identities.csv"), []byte(list), 0o600),
	)
}

// plan gives each replica its ports.
func (w *world) plan() error {
	ports, err := freeport.Addresses(3 * w.options.replicas)
	if err != nil {
		return err
	}
	var peers []string
	for i := range w.options.replicas {
		w.replicas = append(w.replicas, &replica{
			name: fmt.Sprintf("gateway-%d", i), http: ports[3*i], mqtt: ports[3*i+1],
			cluster: ports[3*i+2],
		})
		peers = append(peers, ports[3*i+2])
	}
	_, https, _ := net.SplitHostPort(w.network.HTTPSAddr())
	_, mqtt, _ := net.SplitHostPort(w.network.MQTTAddr())
	for _, r := range w.replicas {
		r.log = filepath.Join(w.dir, r.name+".log")
		r.args = []string{
			"-id-scope", w.dps.IDScope(), "-ca", filepath.Join(w.dir, "ca.pem"),
			"-connect-to", ":443:127.0.0.1:" + https, "-connect-to", ":8883:127.0.0.1:" + mqtt,
			"-identities", filepath.Join(w.dir, "identities.csv"),
			"-dir", filepath.Join(w.dir, r.name), "-http", r.http, "-mqtt", r.mqtt,
			"-commit-interval", "100ms",
		}
		if w.options.replicas > 1 {
			r.args = append(r.args, "-replica", r.name, "-cluster-listen", r.cluster,
				"-cluster-peers", strings.Join(peers, ","), "-lease", w.lease.String())
		}
	}
	return nil
}

// launchAll starts the replicas, and waits until all devices are connected.
func (w *world) launchAll(ctx context.Context) error {
	for _, r := range w.replicas {
		if err := r.launch(w.gateway); err != nil {
			return err
		}
	}
	for w.connected() < len(w.ids) {
		for _, r := range w.replicas {
			if r.dead() {
				return fmt.Errorf("%s has ended: %s", r.name, r.lastLine())
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	w.booted = w.dps.Count()
	return nil
}

// connected is how many devices the hub has connected.
func (w *world) connected() (n int) {
	for _, id := range w.ids {
		if w.hub.Connected(id) {
			n++
		}
	}
	return n
}

// close ends the replicas and the cloud, and takes all files away.
func (w *world) close() {
	for _, r := range w.replicas {
		r.stop()
	}
	for _, r := range w.replicas {
		r.wait()
	}
	if w.network != nil {
		_ = w.network.Close()
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir)
	}
}
