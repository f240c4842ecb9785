// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/base64"
	"encoding/json"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// Values of Record.Status.
const (
	// StatusUnassigned is a device that has no hub.
	StatusUnassigned = "unassigned"
	// StatusAssigning is a registration under way.
	StatusAssigning = "assigning"
	// StatusAssigned is a device that has a hub.
	StatusAssigned = "assigned"
	// StatusFailed is a registration that failed; ErrorCode says why.
	StatusFailed = "failed"
	// StatusDisabled is a device whose enrollment was disabled when it registered.
	StatusDisabled = "disabled"
)

// Values of Record.Substatus.
const (
	// InitialAssignment is the first assignment of a device; under old API versions also one that
	// repeats it.
	InitialAssignment = "initialAssignment"
	// DeviceDataMigrated is a device that moved to another hub, with its twin.
	DeviceDataMigrated = "deviceDataMigrated"
	// DeviceDataReset is a device that starts again from the initial twin of its enrollment.
	DeviceDataReset = "deviceDataReset"
	// ReprovisionedToInitialAssignment is a device that registered again and kept its hub and data.
	// API versions before 2019-04-15 do not have it.
	ReprovisionedToInitialAssignment = "reprovisionedToInitialAssignment"
)

// A Record is the registration record of a device: what its last registration came to. Its JSON
// form is the service API's own.
type Record struct {
	// RegistrationID names the device, in the letter case it registered in first.
	RegistrationID string `json:"registrationId"`
	// CreatedDateTimeUTC is the time of the first registration, by the services' clock.
	CreatedDateTimeUTC *Timestamp `json:"createdDateTimeUtc,omitempty"`
	// AssignedHub is the host name of the hub; "" unless Status is "assigned".
	AssignedHub string `json:"assignedHub,omitempty"`
	// DeviceID is the device ID at that hub, which may differ from the registration ID.
	DeviceID string `json:"deviceId,omitempty"`
	// Status is one of the Status constants: what the last registration came to.
	Status string `json:"status"`
	// Substatus says how an assignment came about: one of the constants from InitialAssignment on.
	// It is "" unless Status is "assigned".
	Substatus string `json:"substatus,omitempty"`
	// ErrorCode is the six-digit code of a failed registration, 0 for none.
	ErrorCode int `json:"errorCode,omitempty"`
	// ErrorMessage is the text to ErrorCode, for people.
	ErrorMessage string `json:"errorMessage,omitempty"`
	// LastUpdatedDateTimeUTC is the time of the last registration, by the services' clock.
	LastUpdatedDateTimeUTC *Timestamp `json:"lastUpdatedDateTimeUtc,omitempty"`
	// ETag changes with every change of the record. It is base64.
	ETag string `json:"etag,omitempty"`
	// Payload is what a custom allocation returned for the device, nil for none.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// A registration is the record and what the server remembers beside it.
type registration struct {
	record Record

	// hub and device are where the device lives. A failed or disabled registration leaves them as
	// they are, although the record then shows no assignment.
	hub, device string

	identity hubtest.Device // the credentials it last proved
	terms    terms          // of the enrollment it registered under last
	by       string         // attestation type
	profile  string         // connection profile of the hub, as it was then
	hubKey   string         // of a device with a TPM: that of its identity, in base64
	wrapped  string         // the same, for the TPM
	chain    []string       // of the certificate that its last registration got; nil for none
}

// A result is a record as a device sees it.
type result struct {
	X509         *proof      `json:"x509,omitempty"` // the service puts it first
	SymmetricKey *proof      `json:"symmetricKey,omitempty"`
	TPM          *wrappedKey `json:"tpm,omitempty"`
	Record
	ConnectionProfile string   `json:"connectionProfile,omitempty"`
	IssuedChain       []string `json:"issuedCertificateChain,omitempty"` // of operations alone
}

// A wrappedKey is the key of a device's identity at its hub, which its TPM alone can unwrap.
type wrappedKey struct {
	AuthenticationKey string `json:"authenticationKey"`
}

type proof struct {
	EnrollmentGroupID string `json:"enrollmentGroupId,omitempty"`
}

// result tells the record in the words of an API version. The caller holds the server's lock.
func (r *registration) result(version string) *result {
	res := &result{Record: r.record}
	if res.Status == StatusAssigned {
		switch {
		case r.by == TypeX509:
			res.X509 = &proof{r.terms.groupID}
		case r.by == TypeTPM && r.wrapped != "":
			res.TPM = &wrappedKey{r.wrapped}
		case r.terms.groupID != "":
			res.SymmetricKey = &proof{r.terms.groupID}
		}
		if version == versionProfile {
			res.ConnectionProfile = r.profile
		}
	}
	if version < versionPayload {
		res.Payload = nil
		if raw, err := base64.StdEncoding.DecodeString(res.ETag); err == nil {
			res.ETag = string(raw) // the versions of 2018 did not encode it
		}
	}
	return res
}
