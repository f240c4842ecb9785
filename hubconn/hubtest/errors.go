// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"net/http"
)

// Error is a hub's refusal of what a back end asks: the service would answer its REST API so.
type Error struct {
	// Op is what was to be done: "invoke", "patch twin", "send c2d" …
	Op string
	// ID is the device it concerns, or "device/module".
	ID string
	// Code is the hub's six-digit code, for instance 404103.
	Code int
	// Message says in one line what is wrong, for people.
	Message string
}

// Error returns one line.
func (e *Error) Error() string {
	return fmt.Sprintf("hubtest: %s %s: %d %s: %s", e.Op, e.ID, e.Code, e.Name(), e.Message)
}

// Status is the HTTP status of the REST response.
func (e *Error) Status() int { return e.Code / 1000 }

// Name is the code's name, as in the header iothub-errorcode.
func (e *Error) Name() string { return codeName(e.Code) }

// The codes the simulated hub uses. Azure docs: "Troubleshoot Azure IoT Hub error codes".
const (
	codeBadRequest        = 400000
	codeProtocolVersion   = 400001
	codeArgumentInvalid   = 400004
	codeFormat            = 400006
	codeUploadUnknown     = 400015
	codeUploadExpired     = 400016
	codeUnauthorizedEntry = 401002
	codeUnauthorized      = 401003
	codeRequestInvalid    = 400037
	codeCredentialFailed  = 400040
	codeQuota             = 403002
	codeQueueFull         = 403004
	codeUploadsFull       = 403006
	codeBadExpiry         = 403009
	codeNotFound          = 404000
	codeDeviceNotFound    = 404001
	codeModuleNotFound    = 404010
	codeNotOnline         = 404103
	codeMethodNotAllowed  = 405000
	codeDeviceExists      = 409001
	codeCredentialPending = 409004
	codeModuleExists      = 409301
	codePrecondition      = 412001
	codeLockLost          = 412002
	codeNoCredentials     = 412005
	codeTooLarge          = 413001
	codeThrottled         = 429001
	codeBadGateway        = 502000
	codeUnavailable       = 503001
	codeGatewayTimeout    = 504101
)

var codeNames = map[int]string{
	codeBadRequest: "GenericBadRequest", codeProtocolVersion: "InvalidProtocolVersion",
	codeArgumentInvalid: "ArgumentInvalid", codeFormat: "IotHubFormatError",
	codeUploadUnknown:     "InvalidFileUploadCorrelationId",
	codeUploadExpired:     "ExpiredFileUploadCorrelationId",
	codeUnauthorizedEntry: "IotHubUnauthorizedAccess", codeUnauthorized: "IotHubUnauthorized",
	codeRequestInvalid:    "CredentialRequestInvalid",
	codeCredentialFailed:  "CredentialOperationFailed",
	codeCredentialPending: "CredentialOperationPending",
	codeNoCredentials:     "CredentialManagementPreconditionFailed",
	codeQuota:             "IotHubQuotaExceeded", codeQueueFull: "DeviceMaximumQueueDepthExceeded",
	codeUploadsFull: "DeviceMaximumActiveFileUploadLimitExceeded",
	codeBadExpiry:   "InvalidMessageExpiryTime", codeNotFound: "GenericNotFound",
	codeDeviceNotFound: "DeviceNotFound", codeModuleNotFound: "ModuleNotFound",
	codeNotOnline: "DeviceNotOnline", codeMethodNotAllowed: "GenericMethodNotAllowed",
	codeDeviceExists: "DeviceAlreadyExists", codeModuleExists: "ModuleAlreadyExistsOnDevice",
	codePrecondition: "PreconditionFailed", codeLockLost: "DeviceMessageLockLost",
	codeTooLarge: "MessageTooLarge", codeThrottled: "ThrottlingException",
	codeBadGateway:  "GenericBadGateway",
	codeUnavailable: "ServiceUnavailable", codeGatewayTimeout: "GatewayTimeout",
}

// codeName names a code; one it does not know it calls by its status.
func codeName(code int) string {
	if name, ok := codeNames[code]; ok {
		return name
	}
	if text := http.StatusText(code / 1000); text != "" {
		return text
	}
	return "Unknown"
}

// unknownIdentity is the error for an identity that is not in the registry.
func unknownIdentity(op, id string) error {
	code := codeDeviceNotFound
	if _, module := splitID(id); module != "" {
		code = codeModuleNotFound
	}
	return &Error{Op: op, ID: id, Code: code, Message: "not in the registry"}
}
