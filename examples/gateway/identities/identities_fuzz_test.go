// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"strings"
	"testing"
)

// Whatever the file has, a list is good or the error is one line that shows no key.
func FuzzIdentities(f *testing.F) {
	f.Add(true, "registrationId,key,modelId,payload\na,"+canaryKey+",m,\"{\"\"b\"\":1}\"\n")
	f.Add(true, "\ufeffregistrationId\n# b\n\"a\"\nb\nA\n")
	f.Add(true, "registrationId,certificate,certificateKey\na,"+canaryKey+",b\n")
	f.Add(true, "registrationId\nsensor-1;"+canaryKey+"\n")
	f.Add(true, "registrationId,certificate,certificateKey\na,"+canaryKey+".pem,b\n")
	f.Add(true, "registrationId,certificate,certificateKey\na,key: "+canaryKey+",b\n")
	f.Add(false, `[{"registrationId":"a `+canaryKey+`"}]`)
	f.Add(false, `[{"registrationId":"a","key":"`+canaryKey+`"},{"registrationId":"b"}]`)
	f.Add(false, `[{"registrationId":"a","payload":{"b":[1]}}, 7]`)
	f.Fuzz(func(t *testing.T, csv bool, text string) {
		s := Source{Path: "/nowhere/list.json", GroupKey: canaryGroup}
		if csv {
			s.Path = "/nowhere/list.csv"
		}
		list, err := s.parse([]byte(text))
		if (err == nil) != (len(list) > 0) {
			t.Fatalf("%d identities and %v", len(list), err)
		}
		if err != nil {
			text := err.Error()
			if strings.ContainsAny(text, "\n\r") || strings.Contains(text, canaryKey) {
				t.Fatalf("%q", err)
			}
			return
		}
		ids := map[string]bool{}
		for i := range list {
			id := strings.ToLower(list[i].ID)
			a := list[i].Attestation
			if ids[id] || a == nil || a.RegistrationID() != list[i].ID {
				t.Fatalf("%q", list[i].ID)
			}
			ids[id] = true
		}
	})
}
