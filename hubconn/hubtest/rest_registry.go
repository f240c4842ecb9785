// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// neverTime is how the registry writes a time at which nothing happened.
const neverTime = "0001-01-01T00:00:00Z"

// identity is a device or module as the registry writes it.
type identity struct {
	DeviceID                   string              `json:"deviceId"`
	ModuleID                   string              `json:"moduleId,omitempty"`
	GenerationID               string              `json:"generationId"`
	ETag                       string              `json:"etag"`
	ConnectionState            string              `json:"connectionState"`
	Status                     string              `json:"status,omitempty"`
	StatusReason               *string             `json:"statusReason"`
	ConnectionStateUpdatedTime string              `json:"connectionStateUpdatedTime"`
	StatusUpdatedTime          string              `json:"statusUpdatedTime,omitempty"`
	LastActivityTime           string              `json:"lastActivityTime"`
	CloudToDeviceMessageCount  int                 `json:"cloudToDeviceMessageCount"`
	Capabilities               *identityCapability `json:"capabilities,omitempty"`
	Authentication             identityCredential  `json:"authentication"`
	ManagedBy                  *string             `json:"managedBy,omitempty"`
}

type identityCapability struct {
	IoTEdge bool `json:"iotEdge"`
}

type identityCredential struct {
	Type           string       `json:"type"`
	SymmetricKey   *keyPair     `json:"symmetricKey"`
	X509Thumbprint *thumbprints `json:"x509Thumbprint"`
}

type keyPair struct {
	PrimaryKey   *string `json:"primaryKey"`
	SecondaryKey *string `json:"secondaryKey"`
}

type thumbprints struct {
	PrimaryThumbprint   *string `json:"primaryThumbprint"`
	SecondaryThumbprint *string `json:"secondaryThumbprint"`
}

// identityChange is a device or module as a back end writes it. Members that only the service sets
// are not read.
type identityChange struct {
	ID             string              `json:"id"` // of bulk operations
	DeviceID       string              `json:"deviceId"`
	ModuleID       string              `json:"moduleId"`
	ETag           string              `json:"etag"`
	ImportMode     string              `json:"importMode"`
	Status         string              `json:"status"`
	StatusReason   *string             `json:"statusReason"`
	Capabilities   *identityCapability `json:"capabilities"`
	Authentication *identityCredential `json:"authentication"`
}

// credentialType is what the registry calls a device's credentials.
func (d *Device) credentialType() string {
	switch {
	case d.PrimaryThumbprint != "" || d.SecondaryThumbprint != "":
		return "selfSigned"
	case d.PrimaryKey == "" && d.SecondaryKey == "" && d.CertificatePolicy != "":
		return "certificateAuthority"
	}
	return "sas"
}

// etag tells one state of an identity from another.
func (d *Device) etag() string {
	state, _ := json.Marshal(d) // strings and booleans: cannot fail
	sum := sha256.Sum256(state)
	return base64.StdEncoding.EncodeToString(sum[:9])
}

// identity returns what the registry tells of a device or module.
func (h *Hub) identity(id string) (identity, bool) {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return identity{}, false
	}
	h.sweep(r, now)
	return h.describe(id, r), true
}

// describe is identity for a record; h.mu is held.
func (h *Hub) describe(id string, r *record) identity {
	device, module := splitID(id)
	out := identity{
		DeviceID: device, ModuleID: module, GenerationID: r.GenerationID, ETag: r.etag(),
		ConnectionState: "Disconnected", ConnectionStateUpdatedTime: neverTime,
		LastActivityTime: neverTime, CloudToDeviceMessageCount: len(r.queue),
		Authentication: identityCredential{
			Type:         r.credentialType(),
			SymmetricKey: &keyPair{optional(r.PrimaryKey), optional(r.SecondaryKey)},
			X509Thumbprint: &thumbprints{
				optional(r.PrimaryThumbprint), optional(r.SecondaryThumbprint),
			},
		},
	}
	if h.links[id] != nil {
		out.ConnectionState = "Connected"
	}
	if module == "" {
		out.Status, out.StatusUpdatedTime, out.StatusReason = r.status(), neverTime,
			optional(r.StatusReason)
		out.Capabilities = &identityCapability{r.IoTEdge}
	}
	return out
}

func (d *Device) status() string {
	if d.Disabled {
		return "disabled"
	}
	return "enabled"
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (c *restCall) getIdentity() (restResponse, error) {
	found, ok := c.hub.identity(c.id())
	if !ok {
		return restResponse{}, c.unknown()
	}
	return restResponse{body: found, header: http.Header{"Etag": {strconv.Quote(found.ETag)}}}, nil
}

func (c *restCall) unknown() error {
	e := unknownIdentity("", c.id()).(*Error)
	return c.refuse(e.Code, e.Message)
}

// listDevices answers with all devices, or as many as are asked for.
func (c *restCall) listDevices() (restResponse, error) {
	ids := c.hub.Devices()
	if top, err := strconv.Atoi(c.URL.Query().Get("top")); err == nil && top > 0 {
		ids = ids[:min(top, len(ids))]
	}
	return restResponse{body: c.hub.identities(ids)}, nil
}

func (c *restCall) listModules() (restResponse, error) {
	if _, ok := c.hub.Get(c.path[1]); !ok {
		return restResponse{}, c.unknown()
	}
	ids := c.hub.Modules(c.path[1])
	for i, module := range ids {
		ids[i] = c.path[1] + "/" + module
	}
	return restResponse{body: c.hub.identities(ids)}, nil
}

func (h *Hub) identities(ids []string) []identity {
	found := []identity{} // never null
	for _, id := range ids {
		if one, ok := h.identity(id); ok {
			found = append(found, one)
		}
	}
	return found
}

// putIdentity creates a device or module or, with If-Match, changes it.
func (c *restCall) putIdentity() (restResponse, error) {
	var change identityChange
	if err := c.decode(&change); err != nil {
		return restResponse{}, err
	}
	device, module := splitID(c.id())
	if change.DeviceID != "" && change.DeviceID != device ||
		change.ModuleID != "" && change.ModuleID != module {
		return restResponse{}, c.refuse(
			codeArgumentInvalid, "the IDs of URI and request body differ",
		)
	}
	match := c.ifMatch()
	if err := c.hub.change(c.id(), change, match != "", match); err != nil {
		return restResponse{}, err
	}
	return c.getIdentity()
}

// change creates an identity, or changes the one there is.
func (h *Hub) change(id string, change identityChange, exists bool, match string) error {
	refuse := func(code int, message string) error {
		return &Error{Op: "put", ID: id, Code: code, Message: message}
	}
	deviceID, moduleID := splitID(id)
	h.writes.Lock()
	defer h.writes.Unlock()
	h.mu.Lock()
	old, found := h.devices[id]
	var d Device
	if found {
		d = old.Device
	}
	h.mu.Unlock()
	switch {
	case found && !exists && moduleID != "":
		return refuse(codeModuleExists, "a module with this ID is already registered")
	case found && !exists:
		return refuse(codeDeviceExists, "a device with this ID is already registered")
	case !found && exists:
		return unknownIdentity("put", id)
	case exists && match != "*" && match != d.etag():
		return refuse(codePrecondition, "the ETag is "+d.etag())
	}
	switch change.Status {
	case "enabled":
		d.Disabled = false
	case "disabled":
		d.Disabled = true
	case "":
	default:
		return refuse(codeArgumentInvalid, "status is neither enabled nor disabled")
	}
	d.ID = cmp.Or(moduleID, deviceID)
	if change.StatusReason != nil {
		d.StatusReason = *change.StatusReason
	}
	if change.Capabilities != nil {
		d.IoTEdge = change.Capabilities.IoTEdge
	}
	if change.Authentication != nil {
		if problem := change.Authentication.apply(&d); problem != "" {
			return refuse(codeArgumentInvalid, problem)
		}
	}
	var err error
	if moduleID != "" {
		err = h.PutModule(deviceID, Module{
			ID: moduleID, PrimaryKey: d.PrimaryKey, SecondaryKey: d.SecondaryKey,
			PrimaryThumbprint: d.PrimaryThumbprint, SecondaryThumbprint: d.SecondaryThumbprint,
		})
	} else {
		err = h.Put(d)
	}
	if _, ok := err.(interface{ Status() int }); err != nil && !ok {
		return refuse(codeArgumentInvalid, strings.TrimPrefix(err.Error(), "hubtest: "))
	}
	return err
}

// apply puts credentials into a device. Keys that are left out stay, and are made up for a device
// that has none.
func (a *identityCredential) apply(d *Device) (problem string) {
	kind := a.Type
	if kind == "" {
		kind = "sas"
		if t := a.X509Thumbprint; t != nil &&
			(text(t.PrimaryThumbprint) != "" || text(t.SecondaryThumbprint) != "") {
			kind = "selfSigned"
		}
	}
	switch {
	case strings.EqualFold(kind, "sas"):
		d.PrimaryThumbprint, d.SecondaryThumbprint, d.CertificatePolicy = "", "", ""
		if a.SymmetricKey != nil {
			d.PrimaryKey = cmp.Or(text(a.SymmetricKey.PrimaryKey), d.PrimaryKey)
			d.SecondaryKey = cmp.Or(text(a.SymmetricKey.SecondaryKey), d.SecondaryKey)
		}
		d.PrimaryKey, d.SecondaryKey = cmp.Or(d.PrimaryKey, randomKey()),
			cmp.Or(d.SecondaryKey, randomKey())
	case strings.EqualFold(kind, "selfSigned"):
		if a.X509Thumbprint == nil || text(a.X509Thumbprint.PrimaryThumbprint) == "" &&
			text(a.X509Thumbprint.SecondaryThumbprint) == "" {
			return "authentication.x509Thumbprint is missing"
		}
		d.PrimaryKey, d.SecondaryKey, d.CertificatePolicy = "", "", ""
		d.PrimaryThumbprint, d.SecondaryThumbprint = text(a.X509Thumbprint.PrimaryThumbprint),
			text(a.X509Thumbprint.SecondaryThumbprint)
	case strings.EqualFold(kind, "certificateAuthority") && d.CertificatePolicy != "":
		d.PrimaryKey, d.SecondaryKey = "", ""
		d.PrimaryThumbprint, d.SecondaryThumbprint = "", ""
	case strings.EqualFold(kind, "certificateAuthority"):
		return "authentication.type certificateAuthority is not simulated"
	default:
		return "authentication.type is not sas, selfSigned or certificateAuthority"
	}
	return ""
}

func (c *restCall) deleteIdentity() (restResponse, error) {
	if err := c.hub.remove(c.id(), c.ifMatch()); err != nil {
		return restResponse{}, err
	}
	return restResponse{status: http.StatusNoContent}, nil
}

// remove deletes an identity whose ETag matches.
func (h *Hub) remove(id, match string) error {
	h.writes.Lock()
	defer h.writes.Unlock()
	found, ok := h.identity(id)
	switch {
	case !ok:
		return unknownIdentity("delete", id)
	case match != "" && match != "*" && match != found.ETag:
		return &Error{
			Op: "delete", ID: id, Code: codePrecondition, Message: "the ETag is " + found.ETag,
		}
	}
	if device, module := splitID(id); module != "" {
		ok = h.DeleteModule(device, module)
	} else {
		ok = h.Delete(device)
	}
	if !ok { // somebody was faster
		return unknownIdentity("delete", id)
	}
	return nil
}

// maxBulkDevices is how many devices one bulk operation may hold.
const maxBulkDevices = 100

type bulkError struct {
	DeviceID    string `json:"deviceId"`
	ModuleID    string `json:"moduleId,omitempty"`
	ErrorCode   int    `json:"errorCode"`
	ErrorStatus string `json:"errorStatus"`
}

// bulkDevices creates, changes and deletes up to a hundred devices. What fails does not keep the
// rest from being done.
func (c *restCall) bulkDevices() (restResponse, error) {
	var changes []identityChange
	if err := c.decode(&changes); err != nil {
		return restResponse{}, err
	}
	if len(changes) == 0 || len(changes) > maxBulkDevices {
		return restResponse{}, c.refuse(codeArgumentInvalid, "1 to 100 devices")
	}
	failures := []bulkError{}
	for _, change := range changes {
		id := change.ID
		if change.ModuleID != "" {
			id += "/" + change.ModuleID
		}
		etag := cmp.Or(strings.Trim(change.ETag, `"`), "none")
		var err error
		mode := strings.ToLower(change.ImportMode)
		if strings.Contains(change.ID+change.ModuleID, "/") {
			mode = "an ID has no slash"
		}
		switch mode {
		case "create", "":
			err = c.hub.change(id, change, false, "")
		case "update":
			err = c.hub.change(id, change, true, "*")
		case "updateifmatchetag":
			err = c.hub.change(id, change, true, etag)
		case "createorupdate":
			_, exists := c.hub.identity(id)
			err = c.hub.change(id, change, exists, "*")
		case "delete":
			err = c.hub.remove(id, "*")
		case "deleteifmatchetag":
			err = c.hub.remove(id, etag)
		default:
			err = c.refuse(codeArgumentInvalid, mode)
		}
		if e, ok := err.(*Error); ok {
			failures = append(failures, bulkError{change.ID, change.ModuleID, e.Code, e.Name()})
		}
	}
	return restResponse{body: map[string]any{
		"isSuccessful": len(failures) == 0, "errors": failures, "warnings": []any{},
	}}, nil
}

func (c *restCall) countDevices() (restResponse, error) {
	ids := c.hub.Devices()
	disabled := 0
	for _, id := range ids {
		if d, ok := c.hub.Get(id); ok && d.Disabled {
			disabled++
		}
	}
	return restResponse{body: map[string]int{
		"totalDeviceCount": len(ids), "enabledDeviceCount": len(ids) - disabled,
		"disabledDeviceCount": disabled,
	}}, nil
}

func (c *restCall) countConnected() (restResponse, error) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	devices := map[string]bool{}
	for id := range c.hub.links {
		device, _ := splitID(id)
		devices[device] = true
	}
	return restResponse{body: map[string]int{"connectedDeviceCount": len(devices)}}, nil
}

// page cuts a list of IDs to the page that the request asks for. The continuation token is the ID
// the next page begins after.
func (c *restCall) page(ids []string) ([]string, http.Header, error) {
	header := http.Header{}
	size, err := strconv.Atoi(c.Header.Get("x-ms-max-item-count"))
	if err != nil || size < 1 || size > 1000 {
		size = 1000
	}
	after, err := base64.RawURLEncoding.DecodeString(c.Header.Get("x-ms-continuation"))
	if err != nil {
		return nil, nil, c.refuse(
			codeArgumentInvalid, "x-ms-continuation is not a continuation token",
		)
	}
	slices.Sort(ids)
	ids = slices.DeleteFunc(ids, func(id string) bool {
		return id <= string(after) && len(after) > 0
	})
	if len(ids) > size {
		ids = ids[:size]
		header.Set("x-ms-continuation", base64.RawURLEncoding.EncodeToString([]byte(ids[size-1])))
	}
	return ids, header, nil
}
