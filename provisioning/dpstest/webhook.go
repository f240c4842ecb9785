// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// maxWebhookResponse is how much of a webhook's response is read.
const maxWebhookResponse = 256 << 10

// allocationRequest is what a webhook is sent (Azure docs: "Understand custom allocation policies
// with Azure IoT Hub Device Provisioning Service").
type allocationRequest struct {
	IndividualEnrollment *IndividualEnrollment `json:"individualEnrollment,omitempty"`
	EnrollmentGroup      *EnrollmentGroup      `json:"enrollmentGroup,omitempty"`
	DeviceRuntimeContext runtimeContext        `json:"deviceRuntimeContext"`
	LinkedHubs           []string              `json:"linkedHubs"`
}

type runtimeContext struct {
	RegistrationID string          `json:"registrationId"`
	CurrentHub     string          `json:"currentIotHubHostName,omitempty"`
	CurrentDevice  string          `json:"currentDeviceId,omitempty"`
	SymmetricKey   *struct{}       `json:"symmetricKey,omitempty"`
	X509           *struct{}       `json:"x509,omitempty"`
	TPM            *struct{}       `json:"tpm,omitempty"`
	Payload        json.RawMessage `json:"payload,omitempty"`
}

// allocationResponse is what a webhook answers.
type allocationResponse struct {
	IoTHubHostName string          `json:"iotHubHostName"`
	InitialTwin    *InitialTwin    `json:"initialTwin"`
	Payload        json.RawMessage `json:"payload"`
}

// callWebhook calls the webhook of the enrollment a device registers under. It calls once.
func (s *Server) callWebhook(ctx context.Context, a Allocation, dev attested) (Allocated, error) {
	if dev.webhook == nil || dev.webhook.WebhookURL == "" {
		return Allocated{}, errors.New("the enrollment names no webhook")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.WebhookTimeout, errWebhookTimeout)
	defer cancel()
	request := allocationRequest{
		DeviceRuntimeContext: runtimeContext{
			RegistrationID: a.RegistrationID, CurrentHub: a.CurrentHub,
			CurrentDevice: a.CurrentDevice, Payload: a.Payload,
		},
		LinkedHubs: a.LinkedHubs,
	}
	switch dev.by {
	case TypeX509:
		request.DeviceRuntimeContext.X509 = &struct{}{}
	case TypeTPM:
		request.DeviceRuntimeContext.TPM = &struct{}{}
	default:
		request.DeviceRuntimeContext.SymmetricKey = &struct{}{}
	}
	if a.Individual != nil {
		e := a.Individual.redacted()
		e.RegistrationState, e.CustomAllocationDefinition = nil,
			e.CustomAllocationDefinition.masked()
		request.IndividualEnrollment = &e
	}
	if a.Group != nil {
		g := a.Group.redacted()
		g.CustomAllocationDefinition = g.CustomAllocationDefinition.masked()
		request.EnrollmentGroup = &g
	}
	r, err := http.NewRequestWithContext(
		ctx, http.MethodPost, dev.webhook.WebhookURL, bytes.NewReader(encode(request)),
	)
	if err != nil {
		return Allocated{}, errors.New("the webhook's URL is not one") // whose query may hold a key
	}
	r.Header.Set("Content-Type", contentJSON)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "dpstest")
	response, err := s.cfg.Webhook.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return Allocated{}, cause
		}
		return Allocated{}, errors.New("the webhook cannot be reached")
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxWebhookResponse+1))
	switch {
	case response.StatusCode != http.StatusOK:
		// The wording devices have been seen to get.
		return Allocated{}, &allocationError{
			codeAllocationFailed,
			fmt.Sprintf("Custom allocation failed with status code: %d", response.StatusCode),
		}
	case err != nil:
		if cause := context.Cause(ctx); cause != nil {
			return Allocated{}, cause
		}
		return Allocated{}, errors.New("the webhook's answer broke off")
	case len(body) > maxWebhookResponse:
		return Allocated{}, errors.New("the webhook's answer is too large")
	}
	var got allocationResponse
	if err := json.Unmarshal(body, &got); err != nil {
		return Allocated{}, errors.New("the webhook's answer is not the JSON that was asked for")
	}
	if string(got.Payload) == "null" {
		got.Payload = nil
	}
	return Allocated{
		Hub: got.IoTHubHostName, InitialTwin: got.InitialTwin, Payload: got.Payload,
	}, nil
}

var errWebhookTimeout = errors.New("the webhook did not answer in time")

// masked is a definition as a webhook sees it: the query of its own address, which may hold a key,
// is hidden.
func (d *CustomAllocationDefinition) masked() *CustomAllocationDefinition {
	if d == nil {
		return nil
	}
	m := *d
	if address, _, found := strings.Cut(m.WebhookURL, "?"); found {
		m.WebhookURL = address + "?****"
	}
	return &m
}

// webhookClient is the default client for webhooks.
func (s *Server) webhookClient() *http.Client {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AddCert(s.network.CA().Certificate())
	return &http.Client{
		// No connection is kept: a server has no end of its own at which it could close one.
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if host, _, err := net.SplitHostPort(address); err == nil &&
					s.network.Serves(host) {
					return s.network.DialContext(ctx, network, address)
				}
				return dialer.DialContext(ctx, network, address)
			},
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}
