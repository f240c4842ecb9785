// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"strings"
)

// Stage is the moment of a connection, or the kind of an operation, at which a [Fault] strikes, and
// by which [Operation] entries are told apart. Its text, in logs and JSON alike, is the constant's
// name with a lower-case first letter, as "twinGet". The zero Stage is none.
type Stage int

const (
	// Upgrade is a WebSocket upgrade request. The device is not known yet: a Fault with a DeviceID
	// does not strike here.
	Upgrade Stage = iota + 1
	// Connect is a CONNECT, before it is authenticated.
	Connect
	// Connected is the moment after a CONNACK with return code 0.
	Connected
	// Publish is a PUBLISH from the device.
	Publish
	// Subscribe is a SUBSCRIBE from the device.
	Subscribe

	// TwinGet is a device's request for its twin, over MQTT. A Fault's Status, Code and Message are
	// the response; NoAnswer loses the response.
	TwinGet
	// TwinPatch is a device's report of properties, over MQTT. A Fault's Status, Code and Message
	// are the response; NoAnswer loses the response, and Stored merges the report nevertheless.
	TwinPatch
	// Desired is a change of desired properties on its way to the device. NoAnswer loses it.
	Desired
	// Method is a direct method's request on its way to the device. NoAnswer loses it.
	Method
	// DeliverC2D is a cloud-to-device message on its way to the device, over MQTT. NoAnswer loses
	// it.
	DeliverC2D

	// IssueStart is a device's request for a certificate, over MQTT. A Fault's Status, Code,
	// Message and RetryAfter (whole seconds, in the body) are the response; NoAnswer loses it, and
	// Stored begins to issue nevertheless.
	IssueStart
	// IssueEnd is the end of such a request. A Fault's Status, Code, Message and RetryAfter are the
	// response in place of the certificate, and Chain is what is wrong with the certificate; Delay
	// comes before it, and with one of 13 hours it never comes; NoAnswer loses it, and ends the
	// request; Cut, Close and Stall end the connection, and the response comes over the next one.
	IssueEnd

	// Send is telemetry over HTTPS.
	Send
	// Receive is a request for a cloud-to-device message over HTTPS.
	Receive
	// Settle is the completion, abandonment or rejection of a cloud-to-device message over HTTPS.
	Settle
	// UploadStart is a device's request for a place to upload a file to.
	UploadStart
	// UploadNotify is a device's report of how an upload went.
	UploadNotify
	// BlobPut is a request to write to blob storage, with responses in the manner of blob storage.
	BlobPut
	// BlobGet is a request to read from blob storage, with responses of the same manner.
	BlobGet
)

// stageNames are the texts of the stages, from Upgrade on.
var stageNames = []string{
	"upgrade", "connect", "connected", "publish", "subscribe", "twinGet", "twinPatch", "desired",
	"method", "deliverC2D", "issueStart", "issueEnd", "send", "receive", "settle", "uploadStart",
	"uploadNotify", "blobPut", "blobGet",
}

// String returns the stage's text, "unknown stage" for a value that is none.
func (s Stage) String() string {
	if s < Upgrade || int(s) > len(stageNames) {
		return "unknown stage"
	}
	return stageNames[s-1]
}

// MarshalText returns the stage's text, empty for the zero Stage. Any other value that is no stage
// is an error.
func (s Stage) MarshalText() ([]byte, error) {
	if s == 0 {
		return nil, nil
	}
	if s < Upgrade || int(s) > len(stageNames) {
		return nil, fmt.Errorf("hubtest: %d is no stage", int(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText reads what MarshalText wrote. An unknown text is an error that lists the known
// ones.
func (s *Stage) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*s = 0
		return nil
	}
	for i, name := range stageNames {
		if name == string(text) {
			*s = Stage(i + 1)
			return nil
		}
	}
	return fmt.Errorf("%q is unknown: use %s", text, strings.Join(stageNames, ", "))
}
