// SPDX-License-Identifier: Apache-2.0

// Package sas makes, reads and verifies the shared access signatures that Azure
// IoT Hub and the Device Provisioning Service take as passwords, and derives a
// device's key from its enrollment group's.
//
// A token signs a resource and an expiry with a symmetric key:
//
//	SharedAccessSignature sr={resource}&sig={base64 HMAC-SHA256}&se={unix seconds}
//
// Resource and signature are escaped. The signed text is the value of sr as sent, a
// line feed and the value of se (Azure docs: "Control access to IoT Hub with shared
// access signatures").
//
//	key := sas.DeriveKey(groupKey, "sensor-042")
//	expiry := time.Now().Add(time.Hour)
//	token := sas.Token("0ne00000001/registrations/sensor-042", key, expiry)
//	signature, err := sas.Parse(token)
//	if err != nil {
//		return err
//	}
//	ok := signature.Verify(key) && time.Now().Before(signature.Expiry)
//
// It is not a policy: which resource, which key and how much clock skew are
// allowed is the caller's to say. A token is a bearer secret; no error and no
// formatting of a [Signature] shows one.
package sas
