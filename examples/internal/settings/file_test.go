// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// withFile are the settings of a program that has a file of them.
func withFile() *Settings {
	s := New("gateway")
	s.UseFile("a file")
	return s
}

func TestAFileGivesWhatNobodyHasSet(t *testing.T) {
	s := withFile()
	s.Take("endpoint", "-endpoint", "flag.example")
	s.given["connect-to"] = given{values: []string{":1::2"}, origin: "-connect-to", byFlag: true}
	require.NoError(t, s.takeFile("a.conf", []byte("# a comment\r\n\r\nid-scope = 0ne00000001\r\n"+
		"endpoint=file.example\nconnect-to = :3::4\nstore =\nca = a = b\n")))
	for name, want := range map[string]string{
		"id-scope": "0ne00000001", "endpoint": "flag.example", "connect-to": ":1::2", "ca": "a = b",
	} {
		assert.Equal(t, []string{want}, s.given[name].values, name)
	}
	assert.False(t, s.Given("store"), "a line that waits to be filled in")
	assert.Equal(t, "a.conf:3: id-scope", s.Origin("id-scope"))
}

func TestAFileMayHaveSettingsManyTimesThatMayBeGivenSo(t *testing.T) {
	s := withFile()
	require.NoError(t, s.takeFile("a.conf", []byte("connect-to = :1::2\nconnect-to = :3::4\n")))
	assert.Equal(t, []string{":1::2", ":3::4"}, s.given["connect-to"].values)
}

func TestOnlyLeavesTheOptionsThatAreNamed(t *testing.T) {
	s := New("gateway")
	s.Only("id-scope", "ca")
	require.Len(t, s.Options(), 2)
	assert.Equal(t, "ca", s.Options()[1].Name)
}

// Whatever a file has, it is taken, or the error is one line that shows nothing long of it.
func FuzzFile(f *testing.F) {
	f.Add("id-scope = 0ne00000001\n\n# comment\nca=a")
	f.Add("connect-to = :1::2\nconnect-to = :3::4\nid-scope\n")
	f.Add("c2VjcmV0IGtleSBvZiBhIGRldmljZSB0aGF0IG5vYm9keQ==\n")
	f.Fuzz(func(t *testing.T, text string) {
		err := withFile().takeFile("a.conf", []byte(text))
		if err == nil {
			return
		}
		if message := err.Error(); strings.ContainsAny(message, "\r\n") || len(message) > 100 ||
			!strings.HasPrefix(message, "a.conf:") {
			t.Fatalf("%q", message)
		}
	})
}
