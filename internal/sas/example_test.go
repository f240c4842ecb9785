// SPDX-License-Identifier: Apache-2.0

package sas_test

import (
	"encoding/base64"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/internal/sas"
)

func Example() {
	groupKey := []byte("the key of an enrollment group")
	deviceKey := sas.DeriveKey(groupKey, "sensor-042")
	token := sas.Token("0ne00000001/registrations/sensor-042", deviceKey, time.Unix(1767225600, 0))

	signature, err := sas.Parse(token + "&skn=registration")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(signature.Resource, signature.KeyName, signature.Expiry.UTC())
	fmt.Println(signature.Verify(deviceKey), signature.Verify(groupKey))
	// Output:
	// 0ne00000001/registrations/sensor-042 registration 2026-01-01 00:00:00 +0000 UTC
	// true false
}

func ExampleDeriveKey() {
	group, _ := base64.StdEncoding.DecodeString(
		"8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
	)
	device := sas.DeriveKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	fmt.Println(base64.StdEncoding.EncodeToString(device))
	// Output: Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=
}
