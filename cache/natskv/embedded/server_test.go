// SPDX-License-Identifier: Apache-2.0

package embedded_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/internal/freeport"
)

func start(t *testing.T, c embedded.Config) (*embedded.Server, *nats.Conn) {
	t.Helper()
	s, err := embedded.Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	nc, err := s.Connect()
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return s, nc
}

func TestWhatWasStoredIsThereAfterARestart(t *testing.T) {
	c := embedded.Config{Dir: filepath.Join(t.TempDir(), "made", "by", "start")}
	s, nc := start(t, c)
	assert.Empty(t, s.URL(), "no port is open")
	store := &natskv.Store{Conn: nc}
	require.NoError(t, store.Put(t.Context(), "sensor", []byte("entry")))
	nc.Close()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "a second time")
	_, nc = start(t, c)
	data, err := (&natskv.Store{Conn: nc}).Get(t.Context(), "sensor")
	require.NoError(t, err)
	assert.Equal(t, "entry", string(data))
}

func TestADirectoryHasOneServer(t *testing.T) {
	c := embedded.Config{Dir: t.TempDir()}
	s, _ := start(t, c)
	_, err := embedded.Start(t.Context(), c)
	assert.ErrorContains(t, err, "in use by another server")
	require.NoError(t, s.Close())
	start(t, c)
}

func TestAPortForClientsIsOpenOnRequest(t *testing.T) {
	s, _ := start(t, embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc, err := nats.Connect(s.URL())
	require.NoError(t, err)
	defer nc.Close()
	store := &natskv.Store{Conn: nc}
	require.NoError(t, store.Put(t.Context(), "sensor", []byte("entry")))
}

func TestWrongConfigurationsAreNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, test := range map[string]struct {
		config embedded.Config
		want   string
	}{
		"no directory":   {embedded.Config{}, "set Dir"},
		"a file":         {embedded.Config{Dir: file}, "not a directory"},
		"no port":        {embedded.Config{Dir: t.TempDir(), Listen: "localhost"}, "Listen"},
		"no such port":   {embedded.Config{Dir: t.TempDir(), Listen: ":nats"}, "Listen"},
		"cluster's port": {embedded.Config{Dir: t.TempDir(), Cluster: new(embedded.Cluster)}, "Cluster.Listen"},
	} {
		_, err := embedded.Start(t.Context(), test.config)
		if assert.Error(t, err, name) {
			assert.Contains(t, err.Error(), test.want, name)
			assert.NotContains(t, err.Error(), "\n", name)
		}
	}
}

// The members of a cluster find each other without a port for clients, and what they need in its
// place lets nobody in.
func TestAClusterNeedsNoPortForClients(t *testing.T) {
	t.Parallel()
	peers, err := freeport.Addresses(3)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var last *embedded.Server
	ports := t.TempDir() // of the last server
	for i, at := range peers {
		s, err := embedded.Start(ctx, embedded.Config{
			Dir: t.TempDir(), Name: fmt.Sprint("nats-", i),
			Cluster: &embedded.Cluster{Listen: at, Peers: peers},
			Options: func(o *server.Options) {
				if i == 2 {
					o.PortsFileDir = ports
				}
			},
		})
		require.NoError(t, err)
		t.Cleanup(func() { _ = s.Close() })
		assert.Empty(t, s.URL())
		last = s
	}
	nc, err := last.Connect()
	require.NoError(t, err)
	defer nc.Close()
	store := &natskv.Store{Conn: nc, Replicas: 3}
	for {
		if err = store.Put(ctx, "sensor-042", []byte("entry")); err == nil || ctx.Err() != nil {
			break
		}
	}
	require.NoError(t, err)

	files, err := filepath.Glob(filepath.Join(ports, "*.ports"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	var listening struct{ Nats []string }
	require.NoError(t, json.Unmarshal(data, &listening))
	require.NotEmpty(t, listening.Nats)
	_, err = nats.Connect(listening.Nats[0])
	assert.ErrorIs(t, err, nats.ErrAuthorization)
}
