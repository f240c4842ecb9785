// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// What somebody in a hurry gives the program: values of one setting in the place of another, files
// that are something else, ports of the other protocol. TestWrongSettingIsOneClearLine has the
// settings themselves, one by one.
func TestAHurriedCommandLineIsOneLineThatNamesTheFlagAndTheFix(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir()}
	ca := simnet.NewCA("Root", time.Now())
	pair := ca.Device("board")
	cert, key := s.pemFiles(t, "board", pair, 0o600)
	expiredCA := simnet.NewCA("Root", time.Now().AddDate(-30, 0, 0))
	_, foreignKey := s.pemFiles(t, "expired", expiredCA.Device("board"), 0o600)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	locked := s.write(t, "locked.key", pem.EncodeToMemory(&pem.Block{
		Type: "ENCRYPTED PRIVATE KEY", Bytes: der,
	}), 0o600)
	openKey := s.write(t, "open.key", readFile(t, key), 0o644)
	binary := s.write(t, "board.der", pair.Certificate[0], 0o644)
	empty := s.write(t, "empty", nil, 0o644)
	certDir := s.dir

	scope := []string{"-id-scope", "0ne00000001"}
	id := []string{"-registration-id", "board"}
	keyed := []string{"-key", canaryKey}
	join := func(parts ...[]string) (args []string) {
		for _, part := range parts {
			args = append(args, part...)
		}
		return args
	}
	board := func(more ...string) []string { return join(scope, id, keyed, more) }
	certified := func(cert, key string) []string {
		return join(scope, []string{"-cert", cert, "-cert-key", key})
	}
	type use struct{ args, env, says []string }
	uses := map[string]use{
		"hub's name for ID scope":        {args: join([]string{"-id-scope", hubA}, id, keyed), says: []string{"-id-scope", "host", "0ne00ABCDEF"}},
		"DPS's name for ID scope":        {args: join([]string{"-id-scope", "contoso-dps"}, id, keyed), says: []string{"-id-scope", "letters and digits", "0ne00ABCDEF"}},
		"ID scope with a space":          {args: join([]string{"-id-scope", "0ne00 ABCDEF"}, id, keyed), says: []string{"-id-scope", "letters and digits"}},
		"ID scope in quotes":             {args: join(id, keyed), env: []string{`THERMOSTAT_ID_SCOPE="0ne00ABCDEF"`}, says: []string{"THERMOSTAT_ID_SCOPE", "letters and digits"}},
		"connection string for the key":  {args: join(scope, id, []string{"-key", connectionString}), says: []string{"-key", "connection string", "SharedAccessKey="}},
		"connection string, environment": {args: join(scope, id), env: []string{"THERMOSTAT_KEY=" + connectionString}, says: []string{"THERMOSTAT_KEY", "connection string"}},
		"connection string for a group":  {args: join(scope, id, []string{"-group-key", connectionString}), says: []string{"-group-key", "connection string"}},
		"key in quotes":                  {args: join(scope, id), env: []string{`THERMOSTAT_KEY="` + canaryKey + `"`}, says: []string{"THERMOSTAT_KEY", "base64", "without quotes"}},
		"key of two lines":               {args: join(scope, id, []string{"-key", canaryKey + "\n" + canaryKey}), says: []string{"-key", "base64"}},
		"file's name for the key":        {args: join(scope, id, []string{"-key", key}), says: []string{"-key", "base64"}},
		"registration ID with a space":   {args: join(scope, []string{"-registration-id", "my board"}, keyed), says: []string{"-registration-id", "position 3", "letters"}},
		"registration ID with an umlaut": {args: join(scope, []string{"-registration-id", "küche"}, keyed), says: []string{"-registration-id", "letters"}},
		"device/module for an ID":        {args: join(scope, []string{"-registration-id", "board/camera"}, keyed), says: []string{"-registration-id", "position 6"}},
		"address for the endpoint":       {args: board("-endpoint", "https://global.azure-devices-provisioning.net/"), says: []string{"-endpoint", "scheme", "path"}},
		"hub for the endpoint":           {args: board("-endpoint", hubA), says: []string{"-endpoint", "hub", "leave it empty"}},
		"MQTT's port for HTTPS":          {args: board("-endpoint", "dps.example:8883", "-transport", "https"), says: []string{"-endpoint", "8883", "MQTT"}},
		"MQTT's port for any":            {args: board("-endpoint", "dps.example:8883"), says: []string{"-endpoint", "8883", "MQTT"}},
		"HTTPS's port for MQTT":          {args: board("-endpoint", "dps.example:443", "-transport", "mqtt"), says: []string{"-endpoint", "443", "HTTPS"}},
		"port of nobody":                 {args: board("-endpoint", "dps.example:mqtt"), says: []string{"-endpoint", "host:port"}},
		"files swapped":                  {args: certified(key, cert), says: []string{"-cert:", "pem"}},
		"key file with a passphrase":     {args: certified(cert, locked), says: []string{"-cert-key:", "passphrase"}},
		"key file that all can read":     {args: certified(cert, openKey), says: []string{"-cert-key:", "chmod 600"}},
		"certificate of DER":             {args: certified(binary, key), says: []string{"-cert:", "pem"}},
		"empty certificate":              {args: certified(empty, key), says: []string{"-cert:", "pem"}},
		"key of a former certificate":    {args: certified(cert, foreignKey), says: []string{"-cert-key:", "pair"}},
		"folder of certificates":         {args: certified(certDir, key), says: []string{"-cert:", certDir}},
		"roots of DER":                   {args: board("-ca", binary), says: []string{"-ca:", "pem"}},
		"roots that are a key":           {args: board("-ca", key), says: []string{"-ca:", "certificate", "pem"}},
		"empty roots":                    {args: board("-ca", empty), says: []string{"-ca:", "certificate", "pem"}},
		"folder of roots":                {args: board("-ca", certDir), says: []string{"-ca:", certDir}},
		"store is a certificate":         {args: board("-store", cert), says: []string{"-store", "directory"}},
		"address to connect to":          {args: board("-connect-to", "127.0.0.1:8443"), says: []string{"-connect-to", "HOST:PORT:HOST:PORT"}},
		"stagger in seconds":             {args: board("-stagger", "600"), says: []string{"-stagger", "30s"}},
		"interval in words":              {args: board("-interval", "1 minute"), says: []string{"-interval", "30s"}},
		"AMQP to the hub":                {args: board("-hub-transport", "amqp"), says: []string{"-hub-transport", "auto, mqtt or ws"}},
		"module without its key":         {args: board("-module", "meter"), says: []string{"-module-key", "THERMOSTAT_MODULE_KEY"}},
		"connection string for a module": {args: board("-module", "meter", "-module-key", connectionString), says: []string{"-module-key", "connection string"}},
		"flag of another program":        {args: board("-device-id", "board"), says: []string{"-device-id", "-help"}},
		"variable of another program":    {args: board(), env: []string{"THERMOSTAT_DEVICE_ID=board"}, says: []string{"THERMOSTAT_DEVICE_ID", "-help"}},
		"command that is none":           {args: join([]string{"run"}, board()), says: []string{"argument", "-help"}},
	}
	require.GreaterOrEqual(t, len(uses), 40)
	together(t, uses, func(t *testing.T, u use) {
		p := launch(t, u.args, u.env...)
		assert.Equal(t, 2, p.wait(patience))
		assert.Empty(t, p.Stdout.String())
		line := p.Stderr()
		assert.NotContains(t, line, "\n", "one line")
		assert.LessOrEqual(t, len(line), 400, line)
		for _, word := range append(u.says, "thermostat: ") {
			assert.Contains(t, line, word)
		}
		for i := 0; i+8 < len(canaryKey); i += 8 {
			assert.NotContains(t, line, canaryKey[i:i+8], "a piece of a key")
		}
		assert.NotContains(t, line, "PRIVATE KEY")
	})
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return data
}
