// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Values of ProvisioningStatus.
const (
	// Enabled lets devices register. It is the default.
	Enabled = "enabled"
	// Disabled ends registrations in status "disabled", and leaves hubs as they are.
	Disabled = "disabled"
)

// Values of AllocationPolicy.
const (
	// PolicyHashed spreads devices over the hubs by a hash, in proportion to the hubs' weights.
	PolicyHashed = "hashed"
	// PolicyGeoLatency chooses the nearest hub, see [Server.SetLatency].
	PolicyGeoLatency = "geoLatency"
	// PolicyStatic assigns every device to the one hub of IoTHubs.
	PolicyStatic = "static"
	// PolicyCustom leaves the choice to Config.Allocate or to the webhook of the enrollment.
	PolicyCustom = "custom"
)

// An IndividualEnrollment lets one device register. Its JSON form is the service API's own.
type IndividualEnrollment struct {
	// RegistrationID names the device. It is case-insensitive.
	RegistrationID string `json:"registrationId"`
	// DeviceID is the device's name at the hub. Default: the registration ID. A change takes effect
	// when the registration record has been deleted.
	DeviceID string `json:"deviceId,omitempty"`
	// RegistrationState is the registration record of the device, nil before its first
	// registration. The server fills it in.
	RegistrationState *Record `json:"registrationState,omitempty"`
	// OptionalInfo is what operators note about the device: any JSON value. It is kept, and does
	// nothing.
	OptionalInfo any `json:"optionalDeviceInformation,omitempty"`
	// Attestation is how the device proves who it is. Default: symmetric keys that are generated.
	Attestation Attestation `json:"attestation"`
	// Capabilities are those of the device identity at the hub. Nil: none.
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// IoTHubHostName is IoTHubs with a single member. IoTHubs goes before it.
	IoTHubHostName string `json:"iotHubHostName,omitempty"`
	// InitialTwin is what the twin at the hub starts with. Nil: it is empty.
	InitialTwin *InitialTwin `json:"initialTwin,omitempty"`
	// ETag changes with every change of the enrollment. The server fills it in.
	ETag string `json:"etag,omitempty"`
	// ProvisioningStatus is Enabled (the default) or Disabled. A disabled enrollment blocks its
	// device even where a group would let it register.
	ProvisioningStatus string `json:"provisioningStatus,omitempty"`
	// ReprovisionPolicy says what a registration does to a device that already has a hub. Nil: it
	// is moved with its data, except for devices that speak api-version 2018-04-01 or older, which
	// stay where they are.
	ReprovisionPolicy *ReprovisionPolicy `json:"reprovisionPolicy,omitempty"`
	// CreatedDateTimeUTC is when the enrollment was first stored, by the services' clock. The
	// server fills it in.
	CreatedDateTimeUTC *Timestamp `json:"createdDateTimeUtc,omitempty"`
	// LastUpdatedDateTimeUTC is when the enrollment was stored last, by the services' clock. The
	// server fills it in.
	LastUpdatedDateTimeUTC *Timestamp `json:"lastUpdatedDateTimeUtc,omitempty"`
	// AllocationPolicy is one of the Policy constants. Default: Config.AllocationPolicy.
	AllocationPolicy string `json:"allocationPolicy,omitempty"`
	// IoTHubs restricts the allocation to these linked hubs. Empty: to all of them; "static" needs
	// it.
	IoTHubs []string `json:"iotHubs,omitempty"`
	// CustomAllocationDefinition is the webhook of PolicyCustom. It is not called where there is a
	// Config.Allocate.
	CustomAllocationDefinition *CustomAllocationDefinition `json:"customAllocationDefinition,omitempty"`
	// NamespaceName is the namespace of the certificate policy under which certificates are issued
	// to devices that send a request for one when they register, see [Server.Issuer]. It goes with
	// the next two: all three, or none. Default: none are issued.
	NamespaceName string `json:"namespaceName,omitempty"`
	// CertificateAuthorityName is the authority of the namespace that issues.
	CertificateAuthorityName string `json:"certificateAuthorityName,omitempty"`
	// CertificatePolicyName is the policy of that authority. One that the issuer does not have is
	// made, with a validity of 30 days.
	CertificatePolicyName string `json:"certificatePolicyName,omitempty"`
	// CredentialPolicyName is the one name that API version 2025-07-01-preview has: the policy of
	// the authority "default" in the namespace "default". The three names go before it.
	CredentialPolicyName string `json:"credentialPolicyName,omitempty"`
}

// An EnrollmentGroup lets every device register that proves a key derived from the group's key, or
// a certificate issued under the group's CA. Its JSON form is the service API's own; its fields
// mean what those of [IndividualEnrollment] do.
type EnrollmentGroup struct {
	// EnrollmentGroupID names the group. It is case-insensitive.
	EnrollmentGroupID string `json:"enrollmentGroupId"`
	// Attestation is how devices prove that they belong to the group: by keys derived from its key,
	// or by certificates under its CA. Default: symmetric keys that are generated.
	Attestation Attestation `json:"attestation"`
	// Capabilities are those of the device identity at the hub. Nil: none.
	Capabilities *Capabilities `json:"capabilities,omitempty"`
	// IoTHubHostName is IoTHubs with a single member. IoTHubs goes before it.
	IoTHubHostName string `json:"iotHubHostName,omitempty"`
	// InitialTwin is what the twin at the hub starts with. Nil: it is empty.
	InitialTwin *InitialTwin `json:"initialTwin,omitempty"`
	// ETag changes with every change of the enrollment. The server fills it in.
	ETag string `json:"etag,omitempty"`
	// ProvisioningStatus is Enabled (the default) or Disabled.
	ProvisioningStatus string `json:"provisioningStatus,omitempty"`
	// ReprovisionPolicy is that of [IndividualEnrollment].
	ReprovisionPolicy *ReprovisionPolicy `json:"reprovisionPolicy,omitempty"`
	// CreatedDateTimeUTC is when the enrollment was first stored, by the services' clock. The
	// server fills it in.
	CreatedDateTimeUTC *Timestamp `json:"createdDateTimeUtc,omitempty"`
	// LastUpdatedDateTimeUTC is when the enrollment was stored last, by the services' clock. The
	// server fills it in.
	LastUpdatedDateTimeUTC *Timestamp `json:"lastUpdatedDateTimeUtc,omitempty"`
	// AllocationPolicy is one of the Policy constants. Default: Config.AllocationPolicy.
	AllocationPolicy string `json:"allocationPolicy,omitempty"`
	// IoTHubs restricts the allocation to these linked hubs, by host name. Empty: to all of them;
	// PolicyStatic needs exactly one.
	IoTHubs []string `json:"iotHubs,omitempty"`
	// CustomAllocationDefinition is the webhook of PolicyCustom. It is not called where there is a
	// Config.Allocate.
	CustomAllocationDefinition *CustomAllocationDefinition `json:"customAllocationDefinition,omitempty"`
	// NamespaceName, and the next two, name a certificate policy: all three, or none.
	NamespaceName string `json:"namespaceName,omitempty"`
	// CertificateAuthorityName is the authority of the namespace that issues.
	CertificateAuthorityName string `json:"certificateAuthorityName,omitempty"`
	// CertificatePolicyName is the policy of that authority.
	CertificatePolicyName string `json:"certificatePolicyName,omitempty"`
	// CredentialPolicyName is the one name that API version 2025-07-01-preview has.
	CredentialPolicyName string `json:"credentialPolicyName,omitempty"`
}

// Capabilities are given to the hub's device identity.
type Capabilities struct {
	// IoTEdge makes the identity that of an IoT Edge device.
	IoTEdge bool `json:"iotEdge"`
}

func (c *Capabilities) edge() bool { return c != nil && c.IoTEdge }

// InitialTwin is the configuration a device starts with.
type InitialTwin struct {
	// Tags are the tags of the twin, as encoding/json decodes them.
	Tags map[string]any `json:"tags,omitempty"`
	// Properties holds the desired properties. Nil: there are none.
	Properties *TwinProperties `json:"properties,omitempty"`
}

// TwinProperties holds the desired properties of an [InitialTwin].
type TwinProperties struct {
	// Desired are the desired properties, as encoding/json decodes them.
	Desired map[string]any `json:"desired,omitempty"`
}

// CustomAllocationDefinition names the webhook of the allocation policy "custom". It is not asked
// if there is a Config.Allocate.
type CustomAllocationDefinition struct {
	// WebhookURL is the http or https address of the webhook. Its query may hold a key.
	WebhookURL string `json:"webhookUrl"`
	// APIVersion is that of the requests to the webhook, 2018-09-01-preview or later.
	APIVersion string `json:"apiVersion"`
}

// A ReprovisionPolicy says what happens when a device that already has a hub registers again.
//
//	UpdateHubAssignment  MigrateDeviceData
//	true                 true               moved if the allocation says so, its data
//	                                        moves along
//	true                 false              moved if the allocation says so, it starts
//	                                        again from its initial configuration
//	false                (ignored)          it stays on its hub
//
// In JSON an absent member is true.
type ReprovisionPolicy struct {
	// UpdateHubAssignment lets a registration move the device to another hub.
	UpdateHubAssignment bool `json:"updateHubAssignment"`
	// MigrateDeviceData takes the twin along when the device moves; false starts it again from its
	// initial configuration. It counts only with UpdateHubAssignment.
	MigrateDeviceData bool `json:"migrateDeviceData"`
}

// UnmarshalJSON reads the service's form, where absent members are true.
func (p *ReprovisionPolicy) UnmarshalJSON(data []byte) error {
	type plain ReprovisionPolicy // without this method
	full := plain{UpdateHubAssignment: true, MigrateDeviceData: true}
	if err := json.Unmarshal(data, &full); err != nil {
		return err
	}
	*p = ReprovisionPolicy(full)
	return nil
}

// A Timestamp is a time in the service's form: UTC with seven fractional digits.
type Timestamp struct{ time.Time }

const timestampLayout = "2006-01-02T15:04:05.0000000Z"

// MarshalJSON writes the service's form.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return []byte(`"` + t.UTC().Format(timestampLayout) + `"`), nil
}

// UnmarshalJSON reads a time of any zone. One that is not of the years 0 to 9999 in UTC is refused:
// it could not be read again as MarshalJSON writes it.
func (t *Timestamp) UnmarshalJSON(data []byte) error {
	at := t.Time
	if err := at.UnmarshalJSON(data); err != nil {
		return err
	}
	if year := at.UTC().Year(); year < 0 || year > 9999 {
		return fmt.Errorf("%s is in the year %d in UTC", data, year)
	}
	t.Time = at
	return nil
}

// terms are what an individual enrollment and a group have in common: what a device gets once it is
// attested.
type terms struct {
	individual *IndividualEnrollment // a copy; nil for a group
	group      *EnrollmentGroup      // a copy; nil for an individual enrollment

	groupID     string
	deviceID    string // "" for the registration ID
	attestation Attestation
	status      string
	policy      *ReprovisionPolicy
	allocation  string
	hubs        []string
	twin        *InitialTwin
	edge        bool
	webhook     *CustomAllocationDefinition
	override    bool // twin goes before the one a device brings along
	issues      certificatePolicy
}

func (e *IndividualEnrollment) terms() terms {
	c := *e
	return terms{
		individual: &c, deviceID: e.DeviceID, attestation: e.Attestation,
		status: e.ProvisioningStatus, policy: e.ReprovisionPolicy, allocation: e.AllocationPolicy,
		hubs: subset(e.IoTHubs, e.IoTHubHostName), twin: e.InitialTwin, edge: e.Capabilities.edge(),
		webhook: e.CustomAllocationDefinition, issues: certificatePolicy{
			e.NamespaceName, e.CertificateAuthorityName, e.CertificatePolicyName,
			e.CredentialPolicyName,
		},
	}
}

func (g *EnrollmentGroup) terms() terms {
	c := *g
	return terms{
		group: &c, groupID: g.EnrollmentGroupID, attestation: g.Attestation,
		status: g.ProvisioningStatus, policy: g.ReprovisionPolicy, allocation: g.AllocationPolicy,
		hubs: subset(g.IoTHubs, g.IoTHubHostName), twin: g.InitialTwin, edge: g.Capabilities.edge(),
		webhook: g.CustomAllocationDefinition, issues: certificatePolicy{
			g.NamespaceName, g.CertificateAuthorityName, g.CertificatePolicyName,
			g.CredentialPolicyName,
		},
	}
}

func subset(hubs []string, single string) []string {
	if len(hubs) == 0 && single != "" {
		return []string{single}
	}
	return hubs
}
