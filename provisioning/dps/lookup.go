// SPDX-License-Identifier: Apache-2.0

package dps

import "context"

// Lookup returns where DPS has the device assigned, without registering it. It uses HTTPS whatever
// Transport is: the service has no status lookup over MQTT.
//
// A device that is not registered (404, or status "unassigned") is an [*Error] whose verdict is to
// register. A record that is "failed" or "disabled" stays so, however often it is looked up, until
// the device registers again. The service counts a lookup against the same quota as a registration.
//
// Azure REST API: Runtime Registration, Device Registration Status Lookup.
func (c *Client) Lookup(ctx context.Context) (Assignment, error) {
	c, err := c.settled(ctx, "lookup")
	if err != nil {
		return Assignment{}, err
	}
	if err := c.Validate(); err != nil {
		return Assignment{}, err
	}
	tpm, err := c.endorsement(ctx, "lookup")
	if err != nil {
		return Assignment{}, err
	}
	assignment, failure := c.lookupOnce(ctx, tpm)
	if failure != nil {
		return Assignment{}, c.fail(failure)
	}
	return assignment, nil
}

func (c *Client) lookupOnce(ctx context.Context, tpm *wireTPM) (Assignment, *Error) {
	if ctx.Err() != nil {
		return Assignment{}, &Error{Op: "lookup", Err: context.Cause(ctx)}
	}
	registrationID := c.Attestation.RegistrationID()
	body, err := registrationBody(registrationID, nil, nil, tpm)
	if err != nil {
		return Assignment{}, &Error{Op: "lookup", Err: err}
	}
	x, err := c.openHTTPS(ctx, body, c.apiVersion(false))
	if err != nil {
		return Assignment{}, &Error{Op: "lookup", Err: err}
	}
	defer x.close()
	a, failure := x.lookup(ctx)
	if failure != nil {
		return Assignment{}, failure
	}
	assignment, failure := readLookup(registrationID, a)
	if failure != nil {
		return Assignment{}, failure
	}
	assignment.IssuedChain = nil // none is issued by looking up
	if failure := c.takeHubKey(ctx, assignment, a); failure != nil {
		return Assignment{}, failure
	}
	return assignment, nil
}
