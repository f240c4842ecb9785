// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/provisioning/lease"
	"github.com/rehome-iot/rehome/provisioning/lease/leasetest"
)

// conforms gives each test of the suite a bucket of its own.
func conforms(t *testing.T, connect func() *nats.Conn, servers int) {
	buckets := 0
	leasetest.Run(t, func(t *testing.T) leasetest.Join {
		buckets++
		bucket := fmt.Sprint("leases-", buckets)
		return func(name string) lease.Leases {
			r, err := natslease.Join(t.Context(), natslease.Config{
				Conn: connect(), Bucket: bucket, Name: name, Replicas: servers,
			})
			require.NoError(t, err)
			t.Cleanup(func() { _ = r.Close(context.Background()) })
			return r
		}
	})
}

func TestReplicasOfAnEmbeddedServerConform(t *testing.T) {
	nc := natstest.Alone(t)
	conforms(t, func() *nats.Conn { return nc }, 1)
}

func TestReplicasOfAClusterOfThreeConform(t *testing.T) {
	t.Parallel()
	servers := natstest.Start(t, 3)
	conns := []*nats.Conn{servers.Connect(0), servers.Connect(1), servers.Connect(2)}
	next := 0
	conforms(t, func() *nats.Conn {
		next++
		return conns[next%3]
	}, 3)
}
