// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

// The codes are those of nats-server, server/errors.json.
func TestServersThatChooseALeaderHaveNotAnswered(t *testing.T) {
	for _, err := range []error{
		&jetstream.APIError{Code: 503, ErrorCode: 10008}, // JetStream system temporarily unavailable
		&jetstream.APIError{Code: 404, ErrorCode: 10059}, // stream not found
		jetstream.ErrBucketNotFound, nats.ErrNoResponders, nats.ErrReconnectBufExceeded,
		context.DeadlineExceeded,
	} {
		assert.True(t, bucket.IsUnanswered(fmt.Errorf("read: %w", err)), "%v", err)
	}
	for _, err := range []error{
		nil, errors.New("another"), nats.ErrConnectionClosed, context.Canceled,
		jetstream.ErrMsgNotFound,
		&jetstream.APIError{Code: 400, ErrorCode: 10071}, // wrong last sequence
		&jetstream.APIError{Code: 500, ErrorCode: 10047}, // insufficient storage resources
	} {
		assert.False(t, bucket.IsUnanswered(err), "%v", err)
	}
}
