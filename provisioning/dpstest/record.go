package dpstest

import (
	"encoding/base64"
	"encoding/json"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// Values of Record.Status.
const (
	StatusUnassigned = "unassigned"
	StatusAssigning  = "assigning"
	StatusAssigned   = "assigned"
	StatusFailed     = "failed"
	StatusDisabled   = "disabled"
)

// Values of Record.Substatus.
const (
	InitialAssignment                = "initialAssignment"
	DeviceDataMigrated               = "deviceDataMigrated"
	DeviceDataReset                  = "deviceDataReset"
	ReprovisionedToInitialAssignment = "reprovisionedToInitialAssignment"
)

// A Record is the registration record of a device: what its last registration came to. Its JSON form is the service
// API's own.
type Record struct {
	RegistrationID         string          `json:"registrationId"`
	CreatedDateTimeUTC     *Timestamp      `json:"createdDateTimeUtc,omitempty"` // of the first registration
	AssignedHub            string          `json:"assignedHub,omitempty"`
	DeviceID               string          `json:"deviceId,omitempty"`
	Status                 string          `json:"status"`
	Substatus              string          `json:"substatus,omitempty"`
	ErrorCode              int             `json:"errorCode,omitempty"`
	ErrorMessage           string          `json:"errorMessage,omitempty"`
	LastUpdatedDateTimeUTC *Timestamp      `json:"lastUpdatedDateTimeUtc,omitempty"`
	ETag                   string          `json:"etag,omitempty"` // base64
	Payload                json.RawMessage `json:"payload,omitempty"`
}

// A registration is the record and what the server remembers beside it.
type registration struct {
	record Record

	// hub and device are where the device lives. A failed or disabled registration leaves them as they are, although
	// the record then shows no assignment.
	hub, device string

	identity hubtest.Device // the credentials it last proved
	terms    terms          // of the enrollment it registered under last
	by       string         // attestation type
}

// A result is a record as a device sees it.
type result struct {
	X509         *proof `json:"x509,omitempty"` // the service puts it first
	SymmetricKey *proof `json:"symmetricKey,omitempty"`
	Record
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
		case r.terms.groupID != "":
			res.SymmetricKey = &proof{r.terms.groupID}
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
