// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// A wrong setting is one line that names the flag and the fix, exit status 2, no secret, and no
// harm to what is stored.
func TestWrongSettingIsOneClearLine(t *testing.T) {
	t.Parallel()
	s := &site{dir: t.TempDir()}
	ca := simnet.NewCA("Root", time.Now())
	cert, certKey := s.pemFiles(t, "board", ca.Device("board"), 0o600)
	other, otherKey := s.pemFiles(t, "other", ca.Device("other"), 0o600)
	text := s.write(t, "text", []byte("hello"), 0o644)
	missing := filepath.Join(s.dir, "missing")
	keyPEM, err := os.ReadFile(certKey)
	require.NoError(t, err)

	type trial struct {
		args []string
		env  []string
		says []string // all of these
	}
	board := func(more ...string) []string {
		return append(
			[]string{"-id-scope", "0ne00000001", "-registration-id", "board", "-key", canaryKey},
			more...,
		)
	}
	scoped := func(more ...string) []string {
		return append([]string{"-id-scope", "0ne00000001"}, more...)
	}
	together(t, map[string]trial{
		"nothing":                    {says: []string{"-id-scope", "missing", "THERMOSTAT_ID_SCOPE"}},
		"unknown flag":               {args: board("-kye", "x"), says: []string{"-kye", "-help"}},
		"unknown flag with a key":    {args: scoped("-kye=" + canaryKey), says: []string{"-kye", "-help"}},
		"bad syntax with a key":      {args: scoped("---key=" + canaryKey), says: []string{"-key ", "-key=BASE64", "-help"}},
		"glued key":                  {args: scoped("-key" + canaryKey), says: []string{"-key ", "-key=BASE64", "-help"}},
		"glued key, no padding":      {args: scoped("-key" + canaryKey[:40]), says: []string{"-key ", "-key=BASE64"}},
		"glued key, two dashes":      {args: scoped("--key:" + canaryKey), says: []string{"-key ", "-key=BASE64"}},
		"glued key, many dashes":     {args: scoped("----key:" + canaryKey), says: []string{"-help"}},
		"glued key, capitals":        {args: scoped("-KEY=" + canaryKey), says: []string{"-key ", "-key=BASE64"}},
		"glued group key":            {args: scoped("-group-key:" + canaryGroupKey), says: []string{"-group-key ", "-group-key=BASE64"}},
		"key glued to a file's flag": {args: scoped("-cert-key\n" + canaryKey), says: []string{"-cert-key ", "-cert-key=FILE"}},
		"key glued to a wrong flag":  {args: scoped("-kye" + canaryKey), says: []string{"a flag", "does not exist", "-help"}},
		"key glued to a switch":      {args: scoped("-status" + canaryKey), says: []string{"-status ", "-help"}},
		"key for a flag":             {args: scoped("-" + canaryKey), says: []string{"does not exist", "-help"}},
		"key for a flag's value":     {args: scoped("-=" + canaryKey), says: []string{"-help"}},
		"bad syntax first of all":    {args: []string{"---key" + canaryKey}, says: []string{"-key ", "-help"}},
		"flag without value":         {args: scoped("-key"), says: []string{"-key", "needs an argument"}},
		"stray argument":             {args: board(canaryKey), says: []string{"argument", "-help"}},
		"unknown variable":           {args: board(), env: []string{"THERMOSTAT_IDSCOPE=x"}, says: []string{"THERMOSTAT_IDSCOPE", "not a setting"}},
		"key glued to a variable":    {args: board(), env: []string{"THERMOSTAT_KEY:" + canaryKey + "=x"}, says: []string{"THERMOSTAT_KEY ", "THERMOSTAT_KEY=BASE64"}},
		"key glued to a wrong one":   {args: board(), env: []string{"THERMOSTAT_KYE" + canaryKey + "=x"}, says: []string{"THERMOSTAT_", "not a setting"}},
		"connection string as scope": {args: []string{"-id-scope", connectionString, "-registration-id", "board", "-key", canaryKey}, says: []string{"-id-scope", "looks like a key"}},
		"connection string as ID":    {args: scoped("-registration-id", connectionString, "-key", canaryKey), says: []string{"-registration-id", "looks like a key"}},
		"connection string as host":  {args: board("-endpoint", connectionString), says: []string{"-endpoint", "looks like a key"}},
		"connection string as file":  {args: board("-ca", connectionString), says: []string{"-ca", "looks like a key"}},
		"connection string alone":    {args: board(connectionString), says: []string{"argument", "-help"}},
		"half a key as ID":           {args: scoped("-registration-id", canaryKey[1:], "-key", canaryKey), says: []string{"-registration-id", "looks like a key"}},
		"empty scope":                {args: []string{"-id-scope", ""}, says: []string{"-id-scope", "empty"}},
		"illegal scope":              {args: []string{"-id-scope", "0ne/1", "-registration-id", "board", "-key", canaryKey}, says: []string{"-id-scope", "0ne00ABCDEF"}},
		"scope is the key":           {args: []string{"-id-scope", canaryKey, "-registration-id", "board", "-key", "0ne00000001"}, says: []string{"-key", "base64"}},
		"scope is a key":             {args: []string{"-id-scope", canaryKey, "-registration-id", "board", "-key", canaryKey}, says: []string{"-id-scope", "looks like a key"}},
		"no registration ID":         {args: scoped("-key", canaryKey), says: []string{"-registration-id", "missing", "THERMOSTAT_REGISTRATION_ID"}},
		"empty registration ID":      {args: scoped("-registration-id", "", "-key", canaryKey), says: []string{"-registration-id", "empty"}},
		"illegal registration ID":    {args: scoped("-registration-id", "my board", "-key", canaryKey), says: []string{"-registration-id", "illegal character"}},
		"registration ID with lines": {args: scoped("-registration-id", "my\nboard", "-key", canaryKey), says: []string{"-registration-id", "illegal character"}},
		"registration ID ends badly": {args: scoped("-registration-id", "board.", "-key", canaryKey), says: []string{"-registration-id", "last character"}},
		"long registration ID":       {args: scoped("-registration-id", strings.Repeat("b", 129), "-key", canaryKey), says: []string{"-registration-id", "128"}},
		"registration ID is a key":   {args: scoped("-registration-id", canaryKey, "-key", canaryKey), says: []string{"-registration-id", "looks like a key"}},
		"no credential":              {args: scoped("-registration-id", "board"), says: []string{"-key", "-group-key", "-cert-key", "THERMOSTAT_KEY"}},
		"two credentials":            {args: board("-group-key", canaryGroupKey), says: []string{"-key", "-group-key", "keep one"}},
		"two credentials, of the environment": {
			args: scoped("-registration-id", "board"),
			env: []string{
				"THERMOSTAT_KEY=" + canaryKey, "THERMOSTAT_CERT=" + cert,
				"THERMOSTAT_CERT_KEY=" + certKey,
			},
			says: []string{"THERMOSTAT_KEY", "THERMOSTAT_CERT", "keep one"},
		},
		"key is not base64":        {args: scoped("-registration-id", "board", "-key", canaryKey[1:]), says: []string{"-key", "base64"}},
		"key is too short":         {args: scoped("-registration-id", "board", "-key", "AAAA"), says: []string{"-key", "3 bytes"}},
		"empty key":                {args: scoped("-registration-id", "board", "-key", ""), says: []string{"-key", "empty"}},
		"key of the environment":   {args: scoped("-registration-id", "board"), env: []string{"THERMOSTAT_KEY=" + canaryKey[1:]}, says: []string{"THERMOSTAT_KEY", "base64"}},
		"group key is not base64":  {args: scoped("-registration-id", "board", "-group-key", canaryGroupKey[1:]), says: []string{"-group-key", "base64"}},
		"certificate without key":  {args: scoped("-cert", cert), says: []string{"-cert", "-cert-key"}},
		"key without certificate":  {args: scoped("-cert-key", certKey), says: []string{"-cert-key", "-cert:"}},
		"missing certificate":      {args: scoped("-cert", missing, "-cert-key", certKey), says: []string{"-cert:", missing}},
		"missing key file":         {args: scoped("-cert", cert, "-cert-key", missing), says: []string{"-cert-key:", missing}},
		"key in place of its file": {args: scoped("-cert", cert, "-cert-key", canaryKey), says: []string{"-cert-key", "looks like a key"}},
		"PEM in place of its file": {args: scoped("-cert", cert, "-cert-key", string(keyPEM)), says: []string{"-cert-key", "looks like a key"}},
		"certificate is text":      {args: scoped("-cert", text, "-cert-key", certKey), says: []string{"-cert:", text, "pem"}},
		"key file is text":         {args: scoped("-cert", cert, "-cert-key", text), says: []string{"-cert-key:", text, "pem"}},
		"key of another":           {args: scoped("-cert", cert, "-cert-key", otherKey), says: []string{"-cert-key:", otherKey, "pair"}},
		"name of another":          {args: scoped("-registration-id", "other", "-cert", cert, "-cert-key", certKey), says: []string{"-registration-id", "common name", "board"}},
		"certificate is a folder":  {args: scoped("-cert", s.dir, "-cert-key", certKey), says: []string{"-cert:", s.dir}},
		"second key is no key":     {args: board(), env: []string{"THERMOSTAT_SECOND_KEY=" + canaryKey[1:]}, says: []string{"THERMOSTAT_SECOND_KEY", "base64"}},
		"glued second key":         {args: board("-second-key" + canaryKey), says: []string{"-second-key ", "-second-key=BASE64"}},
		"second certificate alone": {args: board("-second-cert", cert), says: []string{"-second-cert needs -second-cert-key"}},
		"second file's key alone":  {args: board("-second-cert-key", certKey), says: []string{"-second-cert-key needs -second-cert:"}},
		"second key of another":    {args: board("-second-cert", cert, "-second-cert-key", otherKey), says: []string{"-second-cert-key:", otherKey, "pair"}},
		"key for a second file":    {args: board("-second-cert", canaryKey, "-second-cert-key", certKey), says: []string{"-second-cert", "looks like a key"}},
		"second of another device": {args: scoped("-cert", cert, "-cert-key", certKey, "-second-cert", other, "-second-cert-key", otherKey), says: []string{"-second-cert:", `"other"`, `"board"`, "one enrollment"}},
		"two second credentials":   {args: board("-second-key", canaryGroupKey, "-second-cert", cert, "-second-cert-key", certKey), says: []string{"-second-key", "-second-cert", "keep one"}},
		"second of variables": {
			args: board(),
			env: []string{
				"THERMOSTAT_SECOND_CERT=" + missing, "THERMOSTAT_SECOND_CERT_KEY=" + certKey,
			},
			says: []string{"THERMOSTAT_SECOND_CERT:", missing},
		},
		"key glued to csr":        {args: board("-csr=" + canaryKey), says: []string{"-csr", "true or false"}},
		"csr of variable":         {args: board(), env: []string{"THERMOSTAT_CSR=please"}, says: []string{"THERMOSTAT_CSR", "true or false"}},
		"csr mistyped":            {args: board("-csrs"), says: []string{"-csr ", "-help"}},
		"endpoint with scheme":    {args: board("-endpoint", "https://dps.example"), says: []string{"-endpoint", "scheme"}},
		"endpoint with bad port":  {args: board("-endpoint", "dps.example:0"), says: []string{"-endpoint", "host:port"}},
		"missing authorities":     {args: board("-ca", missing), says: []string{"-ca:", missing}},
		"authorities are text":    {args: board("-ca", text), says: []string{"-ca:", text, "pem"}},
		"transport":               {args: board("-transport", "amqp"), says: []string{"-transport", "auto, https, mqtt or ws"}},
		"hub transport":           {args: board("-hub-transport", "https"), says: []string{"-hub-transport", "auto, mqtt or ws"}},
		"redirect with too few":   {args: board("-connect-to", "a:443:b"), says: []string{"-connect-to", "HOST:PORT:HOST:PORT"}},
		"redirect with too many":  {args: board("-connect-to", "a:443:b:443:c"), says: []string{"-connect-to", "HOST:PORT:HOST:PORT"}},
		"redirect with bare IPv6": {args: board("-connect-to", "::::1:443"), says: []string{"-connect-to", "brackets"}},
		"redirect with open IPv6": {args: board("-connect-to", "::[::1:443"), says: []string{"-connect-to", "brackets"}},
		"redirect to no port":     {args: board("-connect-to", "::localhost:99999"), says: []string{"-connect-to", "65535"}},
		"redirect of variable":    {args: board(), env: []string{"THERMOSTAT_CONNECT_TO=::a:1 b"}, says: []string{"THERMOSTAT_CONNECT_TO", "HOST:PORT:HOST:PORT"}},
		"stagger":                 {args: board("-stagger", "soon"), says: []string{"-stagger", "30s"}},
		"negative stagger":        {args: board("-stagger", "-1s"), says: []string{"-stagger", "negative"}},
		"interval without unit":   {args: board("-interval", "60"), says: []string{"-interval", "30s"}},
		"interval of nothing":     {args: board("-interval", "0s"), says: []string{"-interval", "100ms"}},
		"log format":              {args: board("-log-format", "xml"), says: []string{"-log-format", "json or text"}},
		"switch":                  {args: board("-status=" + canaryKey), says: []string{"-status", "true or false"}},
		"switch of variable":      {args: board(), env: []string{"THERMOSTAT_VERSION=please"}, says: []string{"THERMOSTAT_VERSION", "true or false"}},
		"module without key":      {args: board("-module", "meter"), says: []string{"-module needs -module-key", "THERMOSTAT_MODULE_KEY"}},
		"module's key alone":      {args: board("-module-key", canaryKey), says: []string{"-module-key needs -module"}},
		"illegal module":          {args: board("-module", "a/b", "-module-key", canaryKey), says: []string{"-module:", "character"}},
		"module is a key":         {args: board("-module", canaryKey, "-module-key", canaryKey), says: []string{"-module ", "looks like a key"}},
		"module's key is no key":  {args: board("-module", "meter"), env: []string{"THERMOSTAT_MODULE_KEY=" + canaryKey[1:]}, says: []string{"THERMOSTAT_MODULE_KEY", "base64"}},
		"glued module's key":      {args: board("-module-key" + canaryKey), says: []string{"-module-key ", "-module-key=BASE64"}},
		"store is a file":         {args: board("-store", text), says: []string{"-store", text, "directory"}},
		"store nowhere":           {args: board("-store", filepath.Join(missing, "store")), says: []string{"-store", missing, "does not exist"}},
		"status without a store":  {args: board("-status"), says: []string{"-status", "-store"}},
	}, func(t *testing.T, c trial) {
		p := launch(t, c.args, c.env...)
		assert.Equal(t, 2, p.wait(patience))
		assert.Empty(t, p.Stdout.String())
		line := p.Stderr()
		assert.NotContains(t, line, "\n", "one line")
		assert.True(t, strings.HasPrefix(line, "thermostat: "), line)
		assert.LessOrEqual(t, len(line), 400, line)
		for _, word := range c.says {
			assert.Contains(t, line, word)
		}
		for _, key := range []string{canaryKey, canaryGroupKey} {
			for i := 0; i+8 < len(key); i += 8 {
				assert.NotContains(t, line, key[i:i+8], "a piece of a key")
			}
		}
	})
	left, err := os.ReadFile(text)
	require.NoError(t, err)
	require.Equal(t, "hello", string(left), "a file in the place of the store is untouched")
}

// connectionString is what a portal offers to copy.
var connectionString = "HostName=" + hubA + ";DeviceId=board;SharedAccessKey=" + canaryKey

// running is what -status says of the program that runs the device.
type running struct{ State, Hub, Source, Cause, Next, Since string }

func TestStatusPrintsWhatIsStored(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	type assignment struct{ Hub, DeviceID, Substatus, Created, Updated string }
	type status struct {
		Store, IDScope, RegistrationID, Next, Problem, Saved string
		Credential, NextHub, NextDPS                         string
		Sequence                                             int
		Confirmed, Candidate                                 *assignment
		Running                                              *running
	}
	// Without -connect-to and -ca: it needs no network.
	args := []string{
		"-id-scope", s.dps.IDScope(), "-registration-id", "board", "-key", canaryKey, "-store",
		filepath.Join(s.dir, "store-board"),
	}
	ask := func(code int) (got status) {
		t.Helper()
		p := launch(t, append(args, "-status"))
		require.Equal(t, code, p.wait(patience), p.Stderr())
		assert.Empty(t, p.Stderr())
		decoder := json.NewDecoder(strings.NewReader(p.Stdout.String()))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&got), p.Stdout.String())
		return got
	}

	got := ask(1)
	assert.Equal(t, "register", got.Next)
	assert.Nil(t, got.Confirmed)
	assert.Equal(t, "attestation", got.Credential)
	assert.NoDirExists(t, filepath.Join(s.dir, "store-board"), "looking changes nothing")

	p := launch(t, s.keyFlags("board"))
	p.await("connected", 0, state("connected"))
	got = ask(0) // while it runs
	p.stop()
	assert.Equal(t, "connect", got.Next)
	assert.Equal(t, "board", got.RegistrationID)
	assert.Equal(t, s.dps.IDScope(), got.IDScope)
	assert.NotEmpty(t, got.Saved)
	assert.Positive(t, got.Sequence)
	require.NotNil(t, got.Confirmed)
	assert.Equal(t, hubA, got.Confirmed.Hub)
	assert.Equal(t, "board", got.Confirmed.DeviceID)
	assert.Equal(t, "initialAssignment", got.Confirmed.Substatus)
	assert.NotEmpty(t, got.Confirmed.Created)
	asked := s.dps.Count()

	files, err := filepath.Glob(filepath.Join(s.dir, "store-board", "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.NoError(t, os.Truncate(files[0], 20))
	got = ask(1) // nothing of use
	assert.Equal(t, "lookup", got.Next)
	assert.Nil(t, got.Confirmed)
	assert.Contains(t, got.Problem, "damaged")
	assert.Equal(t, asked, s.dps.Count(), "no request")
}

func TestVersionAndHelpNeedNoSettings(t *testing.T) {
	t.Parallel()
	for flag, says := range map[string]string{
		"-version": runtime.Version(), "-help": "THERMOSTAT_ID_SCOPE", "-h": "-connect-to",
	} {
		p := launch(t, []string{flag})
		assert.Equal(t, 0, p.wait(patience))
		assert.Contains(t, p.Stdout.String(), says)
		assert.Empty(t, p.Stderr())
	}
}

func TestStoreThatCannotBeUsedIsReportedAndDoesNotStopTheDevice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	// A directory in the place of the entry: neither to be read nor to be replaced, not even by
	// root.
	require.NoError(t, os.MkdirAll(filepath.Join(s.dir, "store-board", "board", "full"), 0o700))
	p := launch(t, s.keyFlags("board"))
	warned := func(what string) func(record) bool {
		return func(r record) bool {
			return r.Level == "WARN" && strings.Contains(r.Msg, what) &&
				strings.Contains(r.raw, "store-board")
		}
	}
	_, after := p.await("a warning about what is stored", 0, warned("not used"))
	_, after = p.await("a warning about storing", after, warned("not stored"))
	p.await("connected", after, state("connected"))
	p.stop()

	ask := launch(t, append(s.keyFlags("board"), "-status"))
	assert.Equal(t, 2, ask.wait(patience))
	assert.Contains(t, ask.Stderr(), "thermostat: -store: ")
	assert.NotContains(t, ask.Stderr(), "\n")
}

func TestReadOnlyStoreIsReportedAndDoesNotStopTheDevice(t *testing.T) {
	t.Parallel()
	if os.Getuid() <= 0 {
		t.Skip("permissions do not bind this user")
	}
	s := newSite(t)
	s.enroll(t, "board")
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "store-board"), 0o500))
	p := launch(t, s.keyFlags("board"))
	_, after := p.await("a warning", 0, func(r record) bool {
		return r.Level == "WARN" && strings.Contains(r.Msg, "assignment not stored")
	})
	p.await("connected", after, state("connected"))
	p.stop()
}
