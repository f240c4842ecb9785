// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// RefusedError is a proxy's refusal to open a tunnel: any response to CONNECT but one of status
// 2xx. The server was never reached.
type RefusedError struct {
	// Status is the HTTP status.
	Status int
	// Header is the response's header.
	Header http.Header
	// Body is the start of the response's body, at most 1 KiB.
	Body []byte
}

// Error returns one line with the status, and nothing of what the proxy wrote.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("the proxy refused the tunnel with status %d", e.Status)
}

// Cause is the reason for err, the error of something that ctx bounds: ctx's cause, when that has
// ended. A connection's deadline, taken from the context, may pass an instant before the context's
// own.
func Cause(ctx context.Context, err error) error {
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
