// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

var (
	canaryKey   = base64.StdEncoding.EncodeToString([]byte("canary-device-key-0123456789-abc"))
	canaryGroup = base64.StdEncoding.EncodeToString([]byte("canary-group-key-0123456789-abcd"))
)

func read(t *testing.T, name, text, groupKey string) ([]Identity, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return Source{Path: path, GroupKey: groupKey}.Read()
}

func TestCSVAndJSONSayTheSame(t *testing.T) {
	csv := "\ufeffregistrationId, KEY, modelId, payload\r\n# a comment\r\n" +
		"sensor-1," + canaryKey + ",dtmi:com:example:a;1,\"{\"\"site\"\": 7}\"\r\n\r\nsensor-2\r\n"
	list, err := read(t, "list.csv", csv, canaryGroup)
	require.NoError(t, err)
	same, err := read(t, "list.json", `[
		{"registrationId": "sensor-1", "key": "`+canaryKey+`",
		 "modelId": "dtmi:com:example:a;1", "payload": {"site": 7}},
		{"registrationId": "sensor-2", "key": null}
	]`, canaryGroup)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Len(t, same, 2)
	for i := range list {
		assert.True(t, list[i].Equal(&same[i]), list[i].ID)
	}
	assert.Equal(t, "sensor-1", list[0].ID)
	assert.Equal(t, dps.SymmetricKey{ID: "sensor-1", Key: canaryKey}, list[0].Attestation)
	assert.Equal(t, "dtmi:com:example:a;1", list[0].ModelID)
	assert.JSONEq(t, `{"site": 7}`, string(list[0].Payload))
	derived, err := dps.DeriveDeviceKey(canaryGroup, "sensor-2")
	require.NoError(t, err)
	assert.Equal(t, dps.SymmetricKey{ID: "sensor-2", Key: derived}, list[1].Attestation)
	assert.NotContains(t, fmt.Sprintf("%v %+v", list, list), canaryKey)
	assert.NotContains(t, fmt.Sprintf("%v %+v", list, list), derived)
}

func TestCertificatesAreFoundFromTheDirectoryOfTheList(t *testing.T) {
	dir := t.TempDir()
	pair := simnet.NewCA("devices", time.Now()).Device("sensor-1")
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	for name, data := range map[string][]byte{
		"a.pem":     certificate,
		"a.key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"list.csv":  []byte("registrationId,certificate,certificateKey\nsensor-1,a.pem,a.key\n"),
		"wrong.csv": []byte("registrationId,certificate,certificateKey\nsensor-2,a.pem,a.key\n"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	list, err := Source{Path: filepath.Join(dir, "list.csv")}.Read()
	require.NoError(t, err)
	assert.Equal(t, "sensor-1", list[0].Attestation.RegistrationID())
	_, err = Source{Path: filepath.Join(dir, "wrong.csv")}.Read()
	assert.ErrorContains(t, err, "wrong.csv: line 2: certificate: ")
	assert.ErrorContains(t, err, "sensor-1", "whose it is")
}

func TestAllMistakesAreToldTogetherWithLineFieldAndFix(t *testing.T) {
	key := canaryKey
	for name, c := range map[string]struct {
		file, text, group string
		says              []string
	}{
		"several in one line": {
			text: "registrationId,key,certificate,payload\n,c2hvcnQ=,,{\n" +
				"sensor_ä," + key + ",a.pem,\n",
			says: []string{
				"line 2: registrationId: it is missing", "line 2: key: ", "line 2: payload: ",
				"line 3: registrationId: ", "line 3: key: there is a certificate, too",
			},
		},
		"twice, in another case": {
			text: "registrationId,key\na," + key + "\nb," + key + "\nA," + key + "\n",
			says: []string{"line 4: registrationId: it stands in line 2 already"},
		},
		"no credential": {
			text: "registrationId\na\n", says: []string{"line 2: key: there is no credential"},
		},
		"half a certificate": {
			text: "registrationId,certificate,certificateKey\na,a.pem\nb,,b.key\n",
			says: []string{"line 2: certificateKey: it is missing", "line 3: certificate: it is"},
		},
		"a key in place of a file": {
			text: "registrationId,certificate,certificateKey\na," + key + ",a.key\n",
			says: []string{"line 2: certificate: it looks like a key"},
		},
		"a key behind another separator": {
			text: "registrationId\na;" + key + "\n", group: canaryGroup,
			says: []string{"line 2: registrationId: registration id looks like a key"},
		},
		"a key within the name of a file": {
			text: "registrationId,certificate,certificateKey\na,key: " + key + ".pem,a.key\n",
			says: []string{"line 2: certificate: it has what looks like a key in it"},
		},
		"files that are not there": {
			text: "registrationId,certificate,certificateKey\na,a.pem,a.key\n",
			says: []string{"line 2: certificate: ", "a.pem"},
		},
		"no header": {
			text: "a," + key + "\n", says: []string{"line 1: column 1 of the header is no field"},
		},
		"a header without the ID": {
			text: "key\n" + key + "\n", says: []string{"line 1: registrationId: the header does"},
		},
		"a header that has a column twice": {
			text: "registrationId,key,Key\na," + key + "\n",
			says: []string{"line 1: key: the header has it twice"},
		},
		"more fields than columns": {
			text: "registrationId,payload\na,{\"b\":1,\"c\":2}\n", group: canaryGroup,
			says: []string{"line 2: "},
		},
		"a quote that is not closed": {
			text: "registrationId,key\n\"a," + key + "\n", says: []string{"a quote is not closed"},
		},
		"an empty file":    {says: []string{"line 1: the file is empty"}},
		"only a header":    {text: "registrationId\n", says: []string{"there is no identity"}},
		"an empty array":   {file: "a.json", text: "[]", says: []string{"there is no identity"}},
		"json of no array": {file: "a.json", text: `{"a":1}`, says: []string{"begin with ["}},
		"json that is cut": {
			file: "a.json", text: "[\n{\"registrationId\": \"a", says: []string{"line 2: "},
		},
		"an array not ended": {
			file: "a.json", text: "[\n{\"registrationId\":\"a\",\"key\":\"" + key + "\"}\n",
			says: []string{"end with ]"},
		},
		"more than an array": {
			file: "a.json", text: "[{\"registrationId\":\"a\",\"key\":\"" + key + "\"}]\n[]",
			says: []string{"behind the array"},
		},
		"unknown members, and types": {
			file: "a.json", text: "[\n7,\n\n{\"registrationId\": 7, \"" + key + "\": 1}]",
			says: []string{
				"line 2: it is no object", "line 4: it has a member that is no field",
				"line 4: registrationId: it is no string",
			},
		},
		"no comma": {
			file: "a.json", text: "[\n{\"registrationId\":\"a\",\"key\":\"" + key + "\"}\n{}]",
			says: []string{"line 3: it is not json"},
		},
		"a group key that is none": {
			text: "registrationId\na\n", group: "canary",
			says: []string{"line 2: key: none can be derived from the group key"},
		},
	} {
		file := c.file
		if file == "" {
			file = "list.csv"
		}
		list, err := read(t, file, c.text, c.group)
		require.Error(t, err, name)
		assert.Empty(t, list, name)
		assert.Contains(t, err.Error(), file+": line ", name)
		for _, says := range c.says {
			assert.Contains(t, err.Error(), says, name)
		}
		assert.NotContains(t, err.Error(), "\n", name)
		assert.NotContains(t, err.Error(), "canary", name)
		assert.NotContains(t, err.Error(), key, name)
	}
}

func TestAnErrorShowsTenMistakesAndCountsTheOthers(t *testing.T) {
	_, err := read(t, "list.csv", "registrationId\n"+strings.Repeat("a b\n", 25), canaryGroup)
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok)
	assert.Len(t, e.Problems, 25)
	assert.Equal(t, 10, strings.Count(err.Error(), "line "))
	assert.Contains(t, err.Error(), "; and 15 more")
}

// Ten thousand, and several times as many, are read in a moment.
func TestTenThousandIdentitiesAreRead(t *testing.T) {
	var csv strings.Builder
	csv.WriteString("registrationId\n")
	array := make([]map[string]string, 10_000)
	for i := range array {
		id := fmt.Sprintf("sensor-%05d", i)
		array[i] = map[string]string{"registrationId": id}
		csv.WriteString(id + "\n")
	}
	data, err := json.Marshal(array)
	require.NoError(t, err)
	for name, text := range map[string]string{"a.csv": csv.String(), "a.json": string(data)} {
		began := time.Now()
		list, err := read(t, name, text, canaryGroup)
		require.NoError(t, err)
		assert.Len(t, list, len(array))
		t.Logf("%s: %v", name, time.Since(began))
	}
}

func TestAFileThatIsNoneIsRefused(t *testing.T) {
	_, err := Source{Path: t.TempDir()}.Read()
	assert.ErrorContains(t, err, "is no file")
	_, err = Source{Path: filepath.Join(t.TempDir(), "none.csv")}.Read()
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestASourceDoesNotShowTheGroupKey(t *testing.T) {
	s := Source{Path: "list.csv", GroupKey: "canary-group-key"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "source", s)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "source", &s)
	encoded, err := json.Marshal(s)
	require.NoError(t, err)
	for _, shown := range []string{
		log.String(), string(encoded), fmt.Sprintf("%v %+v %#v %s %d %x", s, s, s, s, s, s),
		fmt.Sprintf("%v %+v", &s, &s),
	} {
		assert.Contains(t, shown, "list.csv")
		assert.NotContains(t, shown, "canary")
		assert.NotContains(t, shown, fmt.Sprintf("%x", "canary"))
	}
}
