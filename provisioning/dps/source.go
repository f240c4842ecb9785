// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"errors"
)

// Source is an attestation whose credential may change while the device runs: files that an agent
// renews ([X509Files]), an agent that is asked for certificates, a secure element. The registration
// ID stays the same.
//
// Its own methods are those of the credential in force at the time of the call. A [Client] takes
// Current once for each thing it is asked to do.
type Source interface {
	Attestation

	// Current returns the credential in force, as a value that does not change any more.
	Current(ctx context.Context) (Attestation, error)

	// Changed returns a channel that is closed once the credential in force is another than at this
	// call. To miss no change, call it before Current.
	Changed() <-chan struct{}
}

// settled is the client with a credential that does not change any more.
func (c *Client) settled(ctx context.Context, op string) (*Client, error) {
	source, ok := c.Attestation.(Source)
	if !ok {
		return c, nil
	}
	current, err := source.Current(ctx)
	if err != nil {
		if _, ok := errors.AsType[*Error](err); ok {
			return nil, err
		}
		return nil, c.fail(&Error{Op: op, Err: err})
	}
	settled := *c
	settled.Attestation = current
	return &settled, nil
}
