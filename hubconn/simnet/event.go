// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"encoding/base64"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// EventKind is what kind of thing has happened. It is one of the constants.
type EventKind string

// The kinds of event, and which members of an [Event] each has beside Position, Time and Kind.
const (
	// EventTelemetry is a message from a device: Hub, DeviceID, ModuleID, Transport, Message.
	EventTelemetry EventKind = "telemetry"
	// EventConnected is a device that a hub let in over MQTT: Hub, DeviceID, ModuleID, Transport.
	EventConnected EventKind = "connected"
	// EventRefused is a device that a hub did not let in: as EventConnected, with Status or
	// ReturnCode, and Reason.
	EventRefused EventKind = "refused"
	// EventDisconnected is the end of a connection: as EventConnected, with Reason.
	EventDisconnected EventKind = "disconnected"
	// EventTwin is a twin that was changed: Hub, DeviceID, ModuleID, Twin.
	EventTwin EventKind = "twin"
	// EventC2D is a cloud-to-device message that was queued or settled: Hub, DeviceID, ModuleID,
	// C2D. Those with Feedback are what the service's feedback receiver gets.
	EventC2D EventKind = "c2d"
	// EventMethod is a direct method that was called: Hub, DeviceID, ModuleID, Operation with the
	// method's name, Status with the device's answer (0 if there was none), Reason.
	EventMethod EventKind = "method"
	// EventUploadStarted is a device that asked where to upload a file: Hub, DeviceID, Upload.
	EventUploadStarted EventKind = "uploadStarted"
	// EventUploadEnded is a device's report of how an upload went. Those with Success are what the
	// service's file notification receiver gets.
	EventUploadEnded EventKind = "uploadEnded"
	// EventOperation is anything else that a device had a hub do, such as to get its twin: Hub,
	// DeviceID, ModuleID, Transport, Operation, Status, Code, and Reason of a refusal.
	EventOperation EventKind = "operation"
	// EventRequest is a request of a device to the provisioning service, once it is answered:
	// RegistrationID, Transport, Operation, OperationID, APIVersion, Status or ReturnCode, Code,
	// RetryAfter, Reason (of a refusal, "not answered", or a note on old clients).
	EventRequest EventKind = "request"
	// EventRegistration is a registration record that was written: RegistrationID, Registration,
	// and Hub and DeviceID where the device is assigned.
	EventRegistration EventKind = "registration"
	// EventService is a request of an operator, to DPS or (with Hub) to a hub: Method, Path,
	// Status, Code, DeviceID or RegistrationID where the path names one.
	EventService EventKind = "service"
	// EventGap stands for events that a reader came too late for: Missed.
	EventGap EventKind = "gap"
)

// Event is one thing that happened at a site of a [Network]. Its JSON form is what programs that
// watch simulators get; a member that does not apply is left out.
type Event struct {
	// Position is the event's place in its log: 1 for the first, and one more for each next.
	Position uint64 `json:"position"`
	// Time is when it happened, by the services' clock ([Network.Now]): it jumps when that does.
	Time time.Time `json:"time"`
	// Kind says what happened.
	Kind EventKind `json:"kind"`
	// Hub is the host name of the hub; of a registration, the hub that is assigned.
	Hub string `json:"hub,omitempty"`
	// DeviceID is the device at the hub.
	DeviceID string `json:"deviceId,omitempty"`
	// ModuleID is the module of the device.
	ModuleID string `json:"moduleId,omitempty"`
	// RegistrationID is the device at the provisioning service, as it wrote it.
	RegistrationID string `json:"registrationId,omitempty"`
	// Transport is "mqtt", "ws" (MQTT over WebSocket) or "https"; or "amqp" or "amqp-ws" of a
	// client that is told that AMQP is not simulated.
	Transport string `json:"transport,omitempty"`
	// Operation is what was asked for: of DPS the word of dpstest.Op, of a hub that of
	// hubtest.Stage, of a method its name.
	Operation string `json:"operation,omitempty"`
	// OperationID is that of a registration at DPS.
	OperationID string `json:"operationId,omitempty"`
	// APIVersion is the api-version of a request to DPS.
	APIVersion string `json:"apiVersion,omitempty"`
	// Method is the HTTP method of an operator's request.
	Method string `json:"method,omitempty"`
	// Path is the path of an operator's request, without the query.
	Path string `json:"path,omitempty"`
	// Status is the status of the response: HTTP's, or that of a twin operation or method. 0 means
	// that there was none.
	Status int `json:"status,omitempty"`
	// Code is the service's six-digit error code.
	Code int `json:"code,omitempty"`
	// ReturnCode is that of a CONNACK that refuses.
	ReturnCode byte `json:"returnCode,omitempty"`
	// RetryAfter is the header of the response, as it was sent.
	RetryAfter string `json:"retryAfter,omitempty"`
	// Reason says why, for people. The device was not told.
	Reason string `json:"reason,omitempty"`
	// ModelID is the IoT Plug and Play model that a device announced as it connected.
	ModelID string `json:"modelId,omitempty"`

	// Message is the telemetry.
	Message *EventMessage `json:"message,omitempty"`
	// Twin is the change of a twin.
	Twin *EventTwinChange `json:"twin,omitempty"`
	// C2D is the cloud-to-device message.
	C2D *EventC2DMessage `json:"c2d,omitempty"`
	// Upload is the file upload.
	Upload *EventFileUpload `json:"upload,omitempty"`
	// Registration is the registration record.
	Registration *EventRecord `json:"registration,omitempty"`

	// Missed is how many events an [EventGap] stands for.
	Missed uint64 `json:"missed,omitempty"`
}

// EventMessage is a message from a device.
type EventMessage struct {
	// Body is the payload. In JSON it is the text "body" where it is UTF-8, else the base64
	// "bodyBase64".
	Body []byte
	// Properties are the application properties.
	Properties map[string]string
	// System are the system properties by their names over MQTT, such as "$.ct".
	System map[string]string
	// Duplicate is whether the message says of itself that it may have come before.
	Duplicate bool
}

// MarshalJSON writes body or bodyBase64, properties, system and duplicate.
func (m EventMessage) MarshalJSON() ([]byte, error) {
	out := struct {
		Body       *string           `json:"body,omitempty"`
		BodyBase64 string            `json:"bodyBase64,omitempty"`
		Properties map[string]string `json:"properties,omitempty"`
		System     map[string]string `json:"system,omitempty"`
		Duplicate  bool              `json:"duplicate,omitempty"`
	}{Properties: m.Properties, System: m.System, Duplicate: m.Duplicate}
	if utf8.Valid(m.Body) {
		text := string(m.Body)
		out.Body = &text
	} else {
		out.BodyBase64 = base64.StdEncoding.EncodeToString(m.Body)
	}
	return json.Marshal(out)
}

// EventTwinChange is what changed in a twin.
type EventTwinChange struct {
	// Part is "tags", "desired" or "reported"; "all" of a twin that came from another hub.
	Part string `json:"part"`
	// Version is that of the part after the change; 0 for tags and all.
	Version int64 `json:"version,omitempty"`
	// Patch is the JSON merge patch, or the new part where Replaced.
	Patch json.RawMessage `json:"patch,omitempty"`
	// Replaced is whether the part was replaced as a whole.
	Replaced bool `json:"replaced,omitempty"`
}

// EventC2DMessage is a cloud-to-device message.
type EventC2DMessage struct {
	// SequenceNumber is the message's number in the device's queue.
	SequenceNumber uint64 `json:"sequenceNumber"`
	// MessageID is the system property.
	MessageID string `json:"messageId,omitempty"`
	// CorrelationID is the system property.
	CorrelationID string `json:"correlationId,omitempty"`
	// Outcome is what became of the message, in the words of hubtest.Outcome; "" for one that has
	// just been queued.
	Outcome string `json:"outcome,omitempty"`
	// DeliveryCount is how often it has been delivered.
	DeliveryCount int `json:"deliveryCount,omitempty"`
	// Feedback is whether its sender asked to be told of this outcome.
	Feedback bool `json:"feedback,omitempty"`
}

// EventFileUpload is a file upload.
type EventFileUpload struct {
	// BlobName is the name of the blob in its container.
	BlobName string `json:"blobName"`
	// CorrelationID is what the hub gave the device, to name the upload by.
	CorrelationID string `json:"correlationId"`
	// Success is whether the device reported that the upload went well.
	Success bool `json:"success,omitempty"`
	// StatusCode is the number the device reported.
	StatusCode int `json:"statusCode,omitempty"`
	// StatusDescription is the text the device reported.
	StatusDescription string `json:"statusDescription,omitempty"`
}

// EventRecord is what a registration came to.
type EventRecord struct {
	// Status is one of dpstest's Status constants, or "deleted" of a record that an operator
	// deleted.
	Status string `json:"status"`
	// Substatus says how an assignment came about.
	Substatus string `json:"substatus,omitempty"`
	// PreviousHub is the hub where the device lived before; "" for a first assignment.
	PreviousHub string `json:"previousHub,omitempty"`
	// ErrorCode is the six-digit code of a failed registration.
	ErrorCode int `json:"errorCode,omitempty"`
	// ErrorMessage is the text to ErrorCode.
	ErrorMessage string `json:"errorMessage,omitempty"`
}

// size is about how much memory the event takes, in bytes.
func (e *Event) size() int {
	n := 512 + len(e.Path) + len(e.Operation) + len(e.Reason) + len(e.DeviceID) +
		len(e.RegistrationID)
	if m := e.Message; m != nil {
		n += 128 + len(m.Body)
		for _, properties := range []map[string]string{m.Properties, m.System} {
			for name, value := range properties {
				n += 64 + len(name) + len(value)
			}
		}
	}
	if e.Twin != nil {
		n += 64 + len(e.Twin.Patch)
	}
	if e.Upload != nil {
		n += 128 + len(e.Upload.BlobName) + len(e.Upload.StatusDescription)
	}
	if e.C2D != nil {
		n += 128 + len(e.C2D.MessageID) + len(e.C2D.CorrelationID)
	}
	if e.Registration != nil {
		n += 128 + len(e.Registration.ErrorMessage)
	}
	return n
}
