// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/internal/issued"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// exchange is one conversation with DPS about one registration.
type exchange interface {
	register(ctx context.Context) (response, *Error)
	poll(ctx context.Context, operationID string) (response, *Error)

	// ended is done, with a cause, when the conversation cannot go on. The exchange may replace its
	// connection, so it is asked for anew at each wait.
	ended() context.Context

	// close returns when nothing of the exchange is left.
	close()
}

// Registration is what a device tells DPS when it registers. The zero value is a plain
// registration.
type Registration struct {
	// Payload is handed to the custom allocation webhook. It is marshalled to JSON; nil (or what
	// marshals to null) sends none.
	Payload any

	// CSR asks for an operational certificate: a PKCS #10 request in DER, as [NewCSR] makes it, of
	// 8 KB at most in base64, whose common name is the registration ID. Where the enrollment has a
	// certificate policy the service returns [Assignment].IssuedChain; where it has none it assigns
	// the device without. Each registration with a request issues another certificate, and earlier
	// ones stay valid. Nil: no certificate is asked for.
	//
	// Azure docs: "Certificate issuance" of Azure IoT.
	CSR []byte

	// OperationID resumes an earlier registration, whose [Error] named it: Register polls it
	// instead of starting anew, and at once. Payload and CSR are then not sent, but give a CSR if
	// the earlier registration had one: without it the certificate that was issued is left out. A
	// TPM whose key for the operation is gone registers anew.
	OperationID string

	// Pending, if set, is told of the registration in progress after each response that leaves it
	// so: the operation ID that resumes it, and how long the service is to be left alone before the
	// next poll. A program that is ended during the wait can then go on with the operation in its
	// next life, no earlier than the service asked. Register calls it on its own goroutine, and the
	// wait begins when it returns.
	Pending func(operationID string, wait time.Duration)
}

// Validate reports what cannot be sent: a Payload that is not JSON, a CSR that is no request, or an
// OperationID that is not one.
func (r Registration) Validate() error {
	if r.Payload == nil && r.OperationID == "" && r.CSR == nil {
		return nil // at each boot: there is nothing to encode
	}
	_, err := r.body("", nil)
	return err
}

// body is what is sent with it.
func (r Registration) body(registrationID string, tpm *wireTPM) ([]byte, error) {
	if r.OperationID != "" && checkOperationID(r.OperationID) != nil {
		return nil, invalid(fmt.Errorf(
			"operation id %q is not one: use the one an earlier error named",
			oneline.Of(r.OperationID, 64),
		))
	}
	if r.CSR != nil {
		if err := issued.CheckRequest(r.CSR, registrationID); err != nil {
			return nil, invalid(fmt.Errorf("csr: %w", err))
		}
	}
	body, err := registrationBody(registrationID, r.Payload, r.CSR, tpm)
	if err != nil {
		return nil, invalid(fmt.Errorf("payload cannot be written as json: %w", err))
	}
	return body, nil
}

// Register registers the device and returns where it is assigned to. It sends the register request,
// then polls the operation for as long as the service says "assigning" (or "unassigned"), each time
// after the Retry-After that the service asked for: 3 s if it named none, 1 s at least, never less
// than asked. End ctx to give up: the service sets no limit.
//
// It is one attempt: any request that fails ends it, with an [*Error] whose OperationID, when set,
// resumes the same operation in a later call. When ctx ends, the error holds context.Cause(ctx).
func (c *Client) Register(ctx context.Context, r Registration) (Assignment, error) {
	c, err := c.settled(ctx, "connect")
	if err != nil {
		return Assignment{}, err
	}
	if err := c.Validate(); err != nil {
		return Assignment{}, err
	}
	tpm, err := c.endorsement(ctx, "register")
	if err != nil {
		return Assignment{}, err
	}
	body, err := r.body(c.Attestation.RegistrationID(), tpm)
	if err != nil {
		return Assignment{}, err
	}
	assignment, failure := c.registerOnce(ctx, body, r)
	if failure != nil {
		return Assignment{}, c.fail(failure)
	}
	return assignment, nil
}

func (c *Client) registerOnce(
	ctx context.Context, body []byte, r Registration,
) (Assignment, *Error) {
	operationID := r.OperationID
	x, failure := c.open(ctx, body, c.apiVersion(r.CSR != nil))
	if failure != nil {
		failure.OperationID = operationID
		return Assignment{}, failure
	}
	defer x.close()

	registrationID := c.Attestation.RegistrationID()
	_, tpm := c.Attestation.(Endorsed)
	resumed := operationID != ""
	for {
		op, send := "register", x.register
		if operationID != "" {
			op, send = "poll", func(ctx context.Context) (response, *Error) {
				return x.poll(ctx, operationID)
			}
		}
		var p progress
		a, failure := send(ctx)
		if failure == nil {
			p, failure = readOperation(op, registrationID, a)
		}
		if failure == nil && p.assigned {
			failure = c.takeHubKey(ctx, p.assignment, a)
		}
		if tpm && resumed && failure != nil && failure.Status == http.StatusUnauthorized &&
			failure.Answered() {
			// The key that began the operation is gone, and only a registration brings another.
			operationID, resumed = "", false
			continue
		}
		resumed = false
		if failure != nil {
			if failure.OperationID == "" {
				failure.OperationID = operationID
			}
			return Assignment{}, failure
		}
		if p.assigned {
			if r.CSR == nil {
				p.assignment.IssuedChain = nil // it would be for nobody's key
			}
			return p.assignment, nil
		}
		if p.operationID != "" {
			operationID = p.operationID
		}
		if r.Pending != nil {
			r.Pending(operationID, p.delay)
		}
		if err := pause(ctx, x.ended(), p.delay); err != nil {
			return Assignment{}, &Error{Op: "poll", OperationID: operationID, Err: err}
		}
	}
}

// open prepares the exchange; MQTT connects.
func (c *Client) open(ctx context.Context, body []byte, apiVersion string) (exchange, *Error) {
	if ctx.Err() != nil {
		return nil, &Error{Op: "connect", Err: context.Cause(ctx)}
	}
	if c.Transport == HTTPS || c.Transport == Auto {
		x, err := c.openHTTPS(ctx, body, apiVersion)
		if err != nil {
			return nil, &Error{Op: "connect", Err: err}
		}
		return x, nil
	}
	x, failure := c.openMQTT(ctx, body, apiVersion)
	if failure != nil {
		return nil, failure
	}
	return x, nil
}

// registrationBody is the DeviceRegistration object. Azure REST API: Runtime Registration, Register
// Device.
func registrationBody(
	registrationID string, payload any, csr []byte, tpm *wireTPM,
) ([]byte, error) {
	body := struct {
		RegistrationID string          `json:"registrationId"`
		Payload        json.RawMessage `json:"payload,omitempty"`
		CSR            []byte          `json:"csr,omitempty"` // in base64
		TPM            *wireTPM        `json:"tpm,omitempty"`
	}{RegistrationID: registrationID, CSR: csr, TPM: tpm}
	if payload != nil {
		encoded, err := json.Marshal(payload)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(encoded, []byte("null")) {
			body.Payload = encoded
		}
	}
	return json.Marshal(body)
}

var errEnded = errors.New("the connection ended")

// pause waits out delay, unless ctx or the conversation ends first.
func pause(ctx, ended context.Context, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-ended.Done():
		return fmt.Errorf("%w: %w", errEnded, context.Cause(ended))
	}
}
