// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// An sdk is an official client as it names itself, and its last version of before native
// reprovisioning.
type sdk struct {
	name    string // for people
	product string // "": it sends a version alone
	last    [3]int
}

// sdks has the rows of the service's table (Azure docs: "IoT Hub Device reprovisioning concepts",
// 2018-04-01 and earlier of the REST API) in the versions that are seen on the wire. The table goes
// by other packages of the same releases: Node's 1.7.3 is azure-iot-common's, and its provisioning
// client of then is 1.3.3; Java's 1.13.0 is iot-device-client's, and 1.3.1 is the newest
// provisioning client that is known to send the old API version. Python's 1.4.2 is made of the C
// SDK, and sends what that sends.
var sdks = []sdk{
	{"C SDK (or Python's of then)", "", [3]int{1, 2, 8}},
	{"Node SDK", "azure-iot-provisioning-device", [3]int{1, 3, 3}},
	{"Java SDK", "com.microsoft.azure.sdk.iot.dps.dps-device-client", [3]int{1, 3, 1}},
	{".NET SDK", "Microsoft.Azure.Devices.Provisioning.Client", [3]int{1, 1, 0}},
}

var versionNumber = regexp.MustCompile(`^(\d{1,4})\.(\d{1,4})\.(\d{1,4})(-[0-9A-Za-z.-]{1,32})?$`)

// clientOf returns what a client says it is over HTTPS. The C SDK misspells the header.
func clientOf(h http.Header) string {
	if text := h.Get("UserAgent"); text != "" {
		return text
	}
	return h.Get("User-Agent")
}

// recognize finds the SDK behind what a client says it is, as a User-Agent or, percent-encoded, a
// ClientVersion: "product/1.2.3 (and more)".
func recognize(client string) (found sdk, version string, ok bool) {
	if text, err := url.QueryUnescape(client); err == nil {
		client = text
	}
	client, _, _ = strings.Cut(client, " ")
	product := ""
	if i := strings.LastIndexByte(client, '/'); i >= 0 {
		product, client = client[:i], client[i+1:]
	}
	if product == "prov_device_client" {
		return sdks[0], "", true // the C SDK over HTTPS: its 1.0 is no version of it
	}
	for _, s := range sdks {
		if s.product == product && versionNumber.MatchString(client) {
			return s, client, true
		}
	}
	return sdk{}, "", false
}

// includes reports whether a version is of before native reprovisioning.
func (s sdk) includes(version string) bool {
	parts := versionNumber.FindStringSubmatch(version)
	if parts == nil {
		return false
	}
	var numbers [3]int
	for i := range numbers {
		numbers[i], _ = strconv.Atoi(parts[i+1]) // up to four digits
	}
	return slices.Compare(numbers[:], s.last[:]) <= 0
}

// note tells whether a client is of before native reprovisioning, and what that means for its
// device: nothing where the enrollment has a policy, which goes before all else.
func (t *terms) note(client, version string) string {
	if t.policy != nil {
		return ""
	}
	who := "a client that does not say what it is"
	from, number, known := recognize(client)
	if known {
		who = strings.TrimSpace(from.name + " " + number)
	}
	switch {
	case t.stays(version):
		return fmt.Sprintf("%s registers under API version %s, of before native reprovisioning, "+
			"and the enrollment has no reprovision policy: the device stays on the hub it has, "+
			"whatever the allocation says; save a policy to move it", who, version)
	case known && from.includes(number):
		return fmt.Sprintf("%s is of before native reprovisioning by the service's table, which "+
			"keeps a device without a reprovision policy on its hub, but registers under API "+
			"version %s, which decides here: the device moves as the allocation says", who, version)
	}
	return ""
}
