// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/rehome-iot/rehome/internal/oneline"
)

const errorCodeHeader = "Iothub-Errorcode"

// refusal is what the hub said about an HTTP request that it did not serve.
type refusal struct {
	code       int
	name       string
	message    string
	trackingID string
}

// hubBody is the hub's error body. Message is either "ErrorCode:Name;text" or another JSON object
// in a string; the newest services send that inner object itself.
type hubBody struct {
	Message          string
	ExceptionMessage string
	ErrorCode        json.RawMessage
	TrackingID       string
}

// parseRefusal reads a refusal, whatever it is: both shapes of the hub's body, the body of a front
// end, HTML, nothing. The code is the body's number, else the number of the body's name, else that
// of the header, else the status times 1000.
func parseRefusal(status int, header string, body []byte) refusal {
	r := refusal{name: oneline.ASCII(header, 64)}
	var outer hubBody
	if json.Unmarshal(body, &outer) != nil {
		outer = hubBody{} // a part of it may have been filled in
	}
	inner := outer
	if strings.HasPrefix(strings.TrimSpace(outer.Message), "{") {
		inner = hubBody{}
		if json.Unmarshal([]byte(outer.Message), &inner) != nil {
			inner = hubBody{}
		}
	}
	named, text, ok := strings.Cut(strings.TrimPrefix(inner.Message, "ErrorCode:"), ";")
	if !strings.HasPrefix(inner.Message, "ErrorCode:") || !ok {
		named, text = "", inner.Message
	}
	r.message = oneline.ASCII(text, 256)
	if r.name == "" {
		r.name = oneline.ASCII(named, 64)
	}
	_, tracking, _ := strings.Cut(outer.ExceptionMessage, "Tracking ID:")
	if inner.TrackingID != "" {
		tracking = inner.TrackingID
	}
	r.trackingID = oneline.ASCII(strings.TrimSpace(tracking), 128)

	for _, candidate := range []string{strings.Trim(string(inner.ErrorCode), `"`), named, header} {
		if code, ok := codeOf(candidate); ok {
			r.code = code
			return r
		}
	}
	r.code = status * 1000
	return r
}

// codeOf reads a code as digits or as a name.
func codeOf(s string) (int, bool) {
	s = strings.TrimSpace(s)
	if code, err := strconv.Atoi(s); err == nil && code >= 100000 && code <= 999999 {
		return code, true
	}
	code, ok := codes[s]
	return code, ok
}

// codes are the numbers behind the names that a device can meet (Azure docs: "Understand and
// resolve Azure IoT Hub errors").
var codes = map[string]int{
	"InvalidProtocolVersion":                     400001,
	"InvalidOperation":                           400003,
	"ArgumentInvalid":                            400004,
	"ArgumentNull":                               400005,
	"IotHubFormatError":                          400006,
	"InvalidFileUploadCorrelationId":             400015,
	"ExpiredFileUploadCorrelationId":             400016,
	"RequestCanceled":                            400021,
	"RequestTimedOut":                            400024,
	"ConnectionForcefullyClosedOnNewConnection":  400027,
	"InvalidDeviceScope":                         400028,
	"ConnectionForcefullyClosedOnFaultInjection": 400029,
	"ConnectionRejectedOnFaultInjection":         400030,
	"IotHubNotFound":                             401001,
	"IotHubUnauthorizedAccess":                   401002,
	"IotHubUnauthorized":                         401003,
	"IotHubSuspended":                            403001,
	"IotHubQuotaExceeded":                        403002,
	"DeviceMaximumActiveFileUploadLimitExceeded": 403006,
	"OperationNotAvailableInCurrentTier":         403010,
	"KeyEncryptionKeyRevoked":                    403011,
	"DeviceDisabled":                             403012,
	"DeviceNotFound":                             404001,
	"ModuleNotFound":                             404010,
	"IotHubFailingOver":                          404012,
	"DeviceNotOnline":                            404103,
	"LinkCreationConflict":                       409002,
	"DeviceLocked":                               409102,
	"PreconditionFailed":                         412001,
	"DeviceMessageLockLost":                      412002,
	"MessageTooLarge":                            413001,
	"ThrottlingException":                        429001,
	"ThrottleBacklogLimitExceeded":               429002,
	"ThrottlingBacklogTimeout":                   429003,
	"DeviceThrottlingLimitExceeded":              429005,
	"ServerError":                                500001,
	"GenericTimeout":                             500008,
	"ServiceUnavailable":                         503001,
	"IotHubActivationFailed":                     503004,
	"ServerBusy":                                 503005,
	"IotHubRestoring":                            503006,
	"ReceiveLinkOpensThrottled":                  503008,
	"ConnectionUnavailable":                      503101,
	"DeviceUnavailable":                          503102,
	"GatewayTimeout":                             504101,
}
