// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/retry"
)

// backlog is what a device has gathered: so many messages of so many bytes.
func backlog(n, size int) (all []hubconn.Message) {
	for i := range n {
		body := fmt.Appendf(nil, "%d ", i)
		all = append(all, hubconn.Message{
			Body:       append(body, bytes.Repeat([]byte("x"), size-len(body))...),
			MessageID:  fmt.Sprint(i),
			Properties: map[string]string{"n": fmt.Sprint(i)},
		})
	}
	return all
}

// arrived checks that the hub has the messages from the first on, each once, in order.
func (r *rig) arrived(h *hubtest.Hub, n int) {
	r.t.Helper()
	got := h.Messages()
	require.Len(r.t, got, n)
	for i, m := range got {
		require.Equal(r.t, fmt.Sprint(i), m.System["$.mid"])
	}
}

func TestABacklogGoesInAsFewBatchesAsFit(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		sent, err := r.device().SendBacklog(context.Background(), backlog(1000, 1000))
		require.NoError(t, err)
		require.Equal(t, 1000, sent)
		r.arrived(r.a, 1000)
		require.Len(t, r.posts(r.a), 6, "about 1.4 KB each, encoded, and 256 KB at a time")

		sent, err = r.device().SendBacklog(context.Background(), nil)
		require.NoError(t, err)
		require.Zero(t, sent)
		require.Len(t, r.posts(r.a), 6)
	})
}

func TestABacklogOfLargeMessagesGoesOneByOne(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		sent, err := r.device().SendBacklog(context.Background(), backlog(3, 250_000))
		require.NoError(t, err)
		require.Equal(t, 3, sent)
		r.arrived(r.a, 3)
		require.Len(t, r.posts(r.a), 3)
	})
}

func TestABacklogSaysHowFarItGotAndGoesOnFromThere(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Skip: 2, Status: 429, RetryAfter: "3600"})
		all := backlog(1000, 1000)
		ctx, cancel := context.WithTimeout(context.Background(), wake)
		defer cancel()
		sent, err := r.device().SendBacklog(ctx, all)
		require.Equal(t, hubconn.Throttled, hubconn.ClassOf(err), "%v", err)
		r.arrived(r.a, sent)
		require.Greater(t, sent, 300)
		require.Less(t, sent, 400)

		time.Sleep(retry.After(err))
		more, err := r.device().SendBacklog(context.Background(), all[sent:])
		require.NoError(t, err)
		require.Equal(t, 1000, sent+more)
		r.arrived(r.a, 1000)
	})
}

func TestTheMessageAtFaultIsTheFirstThatIsNotSent(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		all := backlog(20, 100)
		all[13].Properties = map[string]string{"no token": "x"}
		sent, err := r.device().SendBacklog(context.Background(), all)
		require.Equal(t, hubconn.Caller, hubconn.ClassOf(err), "%v", err)
		require.Equal(t, 13, sent)
		r.arrived(r.a, 13)
		more, err := r.device().SendBacklog(context.Background(), all[sent+1:])
		require.NoError(t, err)
		require.Equal(t, 6, more)

		all[0].Body = make([]byte, hubconn.MaxMessageSize+1)
		sent, err = r.device().SendBacklog(context.Background(), all)
		require.ErrorContains(t, err, "is larger than")
		require.Zero(t, sent)
	})
}

// The hub says only that something in the batch is wrong.
func TestAMessageThatTheHubAloneFindsWrongIsFoundBySmallerBatches(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 400, ErrorCode: "ArgumentInvalid", Times: 3,
		})
		sent, err := r.device().SendBacklog(context.Background(), backlog(8, 100))
		require.NoError(t, err, "it took the fourth, of one message, and then all")
		require.Equal(t, 8, sent)
		r.arrived(r.a, 8)
		require.Len(t, r.posts(r.a), 3+2)

		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 400, ErrorCode: "ArgumentInvalid", Times: always,
		})
		sent, err = r.device().SendBacklog(context.Background(), backlog(8, 100))
		require.Equal(t, hubconn.Caller, hubconn.ClassOf(err), "%v", err)
		require.Zero(t, sent)
		require.Len(t, r.posts(r.a), 3+2+4)
	})
}

func TestABacklogIsSentThroughAMove(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		sent, err := r.device().SendBacklog(context.Background(), backlog(500, 1000))
		require.NoError(t, err)
		require.Equal(t, 500, sent)
		r.arrived(r.b, 500)
	})
}
