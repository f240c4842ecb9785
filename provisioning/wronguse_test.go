// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// wrongUse is what somebody in a hurry writes, and words of the line that they are told: the field,
// and what to do.
type wrongUse struct {
	use  func(t *testing.T) error
	says []string
}

// connectionString is what a portal offers to copy beside a key.
var connectionString = "HostName=" + hubA + ";DeviceId=sensor-042;SharedAccessKey=" + rigKey

// told checks what somebody is told: one line of a length that is read, and no secret in it.
func told(t *testing.T, err error, says []string) {
	t.Helper()
	require.Error(t, err)
	line := err.Error()
	assert.NotContains(t, line, "\n")
	assert.LessOrEqual(t, len(line), 400)
	for _, word := range says {
		assert.Contains(t, line, word)
	}
	for i := 0; i+8 < len(rigKey); i += 8 {
		assert.NotContains(t, line, rigKey[i:i+8], "a piece of a key")
	}
	if strings.HasPrefix(line, "dps: validate: ") {
		assert.Equal(t, retry.Stop, retry.Classify(err), "to try again is in vain")
	}
}

// withField runs a device that is right but for one change. What is wrong with it is told before
// any use of the network.
func withField(change func(d *provisioning.Device)) func(*testing.T) error {
	return func(t *testing.T) error {
		d := right()
		d.DialContext = func(context.Context, string, string) (net.Conn, error) {
			t.Error("the network is used")
			return nil, errors.New("no network")
		}
		change(d)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return d.Run(ctx, idle)
	}
}

// right is a device in whose settings nothing is wrong.
func right() *provisioning.Device {
	return &provisioning.Device{
		IDScope: "0ne00000001", Attestation: dps.SymmetricKey{ID: rigID, Key: rigKey},
	}
}

func idle(ctx context.Context, _ *hubconn.Conn) error {
	<-ctx.Done()
	return nil
}

func withID(id string) func(*testing.T) error {
	return withField(func(d *provisioning.Device) {
		d.Attestation = dps.SymmetricKey{ID: id, Key: rigKey}
	})
}

func withKey(key string) func(*testing.T) error {
	return withField(func(d *provisioning.Device) {
		d.Attestation = dps.SymmetricKey{ID: rigID, Key: key}
	})
}

func withScope(scope string) func(*testing.T) error {
	return withField(func(d *provisioning.Device) { d.IDScope = scope })
}

func withEndpoint(endpoint string, transport dps.Transport) func(*testing.T) error {
	return withField(func(d *provisioning.Device) { d.Endpoint, d.Transport = endpoint, transport })
}

func withPair(pair tls.Certificate) func(*testing.T) error {
	return withField(func(d *provisioning.Device) { d.Attestation = dps.X509{KeyPair: pair} })
}

func withHub(change func(*hubconn.Dialer)) func(*testing.T) error {
	return withField(func(d *provisioning.Device) { change(&d.Hub) })
}

func withTLS(config *tls.Config) func(*testing.T) error {
	return withField(func(d *provisioning.Device) { d.TLSConfig = config })
}

// connected is a device in its session.
type connected struct {
	ctx context.Context
	dev *provisioning.Device
	hub *hubconn.Conn
}

// onHub does something wrong on a connection to a simulated hub.
func onHub(use func(c connected) error) func(*testing.T) error {
	return func(t *testing.T) (err error) {
		synctest.Test(t, func(t *testing.T) {
			s := devicetest.Start(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			err = s.Device.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				return use(connected{ctx, s.Device, hub})
			})
		})
		return err
	}
}

func sends(m hubconn.Message) func(*testing.T) error {
	return onHub(func(c connected) error {
		return c.hub.Send(c.ctx, m)
	})
}

func withFiles(cert, key []byte) func(*testing.T) error {
	return func(t *testing.T) error {
		dir := t.TempDir()
		files := &dps.X509Files{
			CertificateFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem"),
		}
		require.NoError(t, os.WriteFile(files.CertificateFile, cert, 0o600))
		require.NoError(t, os.WriteFile(files.KeyFile, key, 0o600))
		return withField(func(d *provisioning.Device) { d.Attestation = files })(t)
	}
}

func TestAWrongUseIsOneLineThatNamesTheFieldAndTheFix(t *testing.T) {
	ca := simnet.NewCA("Factory", time.Now())
	pair, other := ca.Device(rigID), ca.Device("sensor-043")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})

	uses := map[string]wrongUse{
		"no ID scope":                   {withScope(""), []string{"id scope", "overview page"}},
		"ID scope with a space":         {withScope("0ne00 ABCDEF"), []string{"id scope", "0ne00ABCDEF"}},
		"ID scope with a line feed":     {withScope("0ne00ABCDEF\n"), []string{"id scope", "0ne00ABCDEF"}},
		"hub's name for ID scope":       {withScope(hubA), []string{"id scope", "host", "0ne00ABCDEF"}},
		"instance's name for ID scope":  {withScope("contoso-dps"), []string{"id scope", "0ne00ABCDEF"}},
		"key for ID scope":              {withScope(rigKey), []string{"id scope", "key", "0ne00ABCDEF"}},
		"connection string for scope":   {withScope(connectionString), []string{"id scope", "key", "0ne00ABCDEF"}},
		"no attestation":                {withField(func(d *provisioning.Device) { d.Attestation = nil }), []string{"attestation", "SymmetricKey", "X509"}},
		"no registration ID":            {withID(""), []string{"id", "enrolled"}},
		"registration ID with a space":  {withID("sensor 042"), []string{"id", "position 7", "letters"}},
		"registration ID with a slash":  {withID("hall/sensor"), []string{"id", "position 5", "letters"}},
		"registration ID of 129":        {withID(strings.Repeat("s", 129)), []string{"id", "128"}},
		"registration ID ends in a dot": {withID("sensor."), []string{"id", "last character"}},
		"key for registration ID":       {withID(rigKey), []string{"id", "key"}},
		"connection string for ID":      {withID(connectionString), []string{"id", "key"}},
		"no key":                        {withKey(""), []string{"symmetric key: key", "base64 key of the enrollment"}},
		"connection string for key":     {withKey(connectionString), []string{"symmetric key: key", "connection string", "SharedAccessKey"}},
		"key cut short":                 {withKey(rigKey[1:]), []string{"symmetric key: key", "base64", "whole"}},
		"key in quotes":                 {withKey(`"` + rigKey + `"`), []string{"symmetric key: key", "base64", "quotes"}},
		"key with a space":              {withKey(rigKey[:8] + " " + rigKey[8:]), []string{"symmetric key: key", "base64"}},
		"password for key":              {withKey("c2VjcmV0"), []string{"symmetric key: key", "6 bytes", "16"}},
		"endpoint is an address":        {withEndpoint("https://global.azure-devices-provisioning.net", 0), []string{"endpoint", "scheme"}},
		"endpoint with a path":          {withEndpoint("dps.example/scope", 0), []string{"endpoint", "path"}},
		"hub's name for endpoint":       {withEndpoint(hubA, 0), []string{"endpoint", "hub", "leave it empty"}},
		"MQTT's port for HTTPS":         {withEndpoint("dps.example:8883", dps.HTTPS), []string{"endpoint", "8883", "MQTT"}},
		"MQTT's port for any":           {withEndpoint("dps.example:8883", 0), []string{"endpoint", "8883", "MQTT"}},
		"HTTPS's port for MQTT":         {withEndpoint("dps.example:443", dps.MQTT), []string{"endpoint", "443", "HTTPS"}},
		"a transport that is none":      {withEndpoint("", 7), []string{"transport", "HTTPS, MQTT or MQTTWebSocket"}},
		"certificate without key":       {withPair(tls.Certificate{Certificate: pair.Certificate}), []string{"x509", "private key", "crypto.Signer"}},
		"no certificate":                {withPair(tls.Certificate{PrivateKey: pair.PrivateKey}), []string{"x509", "certificate", "leaf first"}},
		"key of another certificate":    {withPair(tls.Certificate{Certificate: pair.Certificate, PrivateKey: other.PrivateKey}), []string{"x509", "private key", "pair made together"}},
		"name of another certificate":   {withField(func(d *provisioning.Device) { d.Attestation = dps.X509{ID: "board", KeyPair: pair} }), []string{"x509", "common name", "equal"}},
		"files swapped":                 {withFiles(keyPEM, certPEM), []string{"x509 files", "cert.pem", "key.pem", "swapped"}},
		"key file with a passphrase":    {withFiles(certPEM, locked), []string{"x509 files", "key.pem", "passphrase"}},
		"certificate file of DER":       {withFiles(pair.Certificate[0], keyPEM), []string{"x509 files", "cert.pem", "pem"}},
		"certificate file cut short":    {withFiles(certPEM[:len(certPEM)/2], keyPEM), []string{"x509 files", "cert.pem", "cut short"}},
		"no such file": {withField(func(d *provisioning.Device) {
			d.Attestation = &dps.X509Files{CertificateFile: "/nowhere/cert.pem", KeyFile: "key.pem"}
		}), []string{"certificate file", "/nowhere/cert.pem"}},
		"second of another device":    {withField(func(d *provisioning.Device) { d.SecondAttestation = dps.SymmetricKey{ID: "board", Key: rigKey} }), []string{"secondattestation", "one enrollment"}},
		"payload that is no JSON":     {withField(func(d *provisioning.Device) { d.Payload = make(chan int) }), []string{"payload", "json"}},
		"model without dtmi":          {withField(func(d *provisioning.Device) { d.ModelID = "thermostat" }), []string{"model id", "dtmi:"}},
		"API version with a v":        {withField(func(d *provisioning.Device) { d.APIVersion = "v2021/06" }), []string{"api version", "2021-06-01"}},
		"user agent of two lines":     {withField(func(d *provisioning.Device) { d.UserAgent = "a\nb" }), []string{"user agent", "printable"}},
		"negative stagger":            {withField(func(d *provisioning.Device) { d.Stagger = -1 }), []string{"stagger", "zero"}},
		"negative delay":              {withField(func(d *provisioning.Device) { d.Retry.MinDelay = -1 }), []string{"retry.mindelay", "zero"}},
		"negative attempts":           {withField(func(d *provisioning.Device) { d.Retry.MaxAttempts = -1 }), []string{"retry.maxattempts", "zero"}},
		"certificates not verified":   {withTLS(&tls.Config{InsecureSkipVerify: true}), []string{"insecure skip verify", "root cas"}},
		"roots without a certificate": {withTLS(&tls.Config{RootCAs: x509.NewCertPool()}), []string{"root cas", "AppendCertsFromPEM"}},
		"hub not verified":            {withHub(func(d *hubconn.Dialer) { d.TLSConfig = &tls.Config{InsecureSkipVerify: true} }), []string{"hub", "InsecureSkipVerify", "RootCAs"}},
		"hub's roots empty":           {withHub(func(d *hubconn.Dialer) { d.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()} }), []string{"hub", "RootCAs", "AppendCertsFromPEM"}},
		"keep-alive of a millisecond": {withHub(func(d *hubconn.Dialer) { d.KeepAlive = time.Millisecond }), []string{"hub", "KeepAlive", "seconds"}},
		"keep-alive in nanoseconds":   {withHub(func(d *hubconn.Dialer) { d.KeepAlive = 240 }), []string{"hub", "KeepAlive", "time.Second"}},
		"negative timeout":            {withHub(func(d *hubconn.Dialer) { d.AckTimeout = -1 }), []string{"hub", "AckTimeout", "zero"}},
		"token of a second":           {withHub(func(d *hubconn.Dialer) { d.TokenTTL = time.Second }), []string{"hub", "TokenTTL", "minute"}},
		"negative window":             {withHub(func(d *hubconn.Dialer) { d.MaxInFlight = -1 }), []string{"hub", "MaxInFlight", "zero"}},
		"HTTPS to the hub":            {withHub(func(d *hubconn.Dialer) { d.Transport = 9 }), []string{"hub", "MQTT or MQTTWebSocket"}},
		"nil session":                 {func(t *testing.T) error { return new(provisioning.Device).Run(t.Context(), nil) }, []string{"session", "function"}},
		"proxy without a scheme": {func(t *testing.T) (err error) {
			synctest.Test(t, func(t *testing.T) {
				s := devicetest.Start(t)
				proxy, err2 := url.Parse("//proxy.example:3128")
				require.NoError(t, err2)
				s.Device.Proxy, s.Device.Retry.MaxAttempts = http.ProxyURL(proxy), 1
				err = s.Device.Run(t.Context(), idle)
			})
			return err
		}, []string{"Proxy", "scheme", "http, https"}},
		"Run twice at once": {onHub(func(c connected) error {
			return c.dev.Run(c.ctx, idle)
		}), []string{"Run"}},
		"a Device that was copied": {onHub(func(c connected) error {
			copied := new(provisioning.Device) // as an assignment would, which vet finds
			reflect.ValueOf(copied).Elem().Set(reflect.ValueOf(c.dev).Elem())
			return copied.Run(c.ctx, idle)
		}), []string{"copied", "pointer"}},
		"Send beside Run": {onHub(func(c connected) error {
			return c.dev.Send(c.ctx, hubconn.Message{})
		}), []string{"Run"}},
		"Send after Close": {onHub(func(c connected) error {
			_ = c.hub.Close()
			return c.hub.Send(context.WithoutCancel(c.ctx), hubconn.Message{})
		}), []string{"closed"}},
		"message too large":         {sends(hubconn.Message{Body: make([]byte, 300<<10)}), []string{"message", "262144"}},
		"property without a name":   {sends(hubconn.Message{Properties: map[string]string{"": "x"}}), []string{"property", "empty name"}},
		"property that is binary":   {sends(hubconn.Message{Properties: map[string]string{"a": "\xff"}}), []string{"property", `"a"`}},
		"property that has a field": {sends(hubconn.Message{Properties: map[string]string{"$.ct": "x"}}), []string{"property", "$.ct", "field"}},
		"output of a device":        {sends(hubconn.Message{Output: "alarm"}), []string{"Output", "module"}},
		"reported property a string": {onHub(func(c connected) error {
			_, err := c.hub.Report(c.ctx, "21.5")
			return err
		}), []string{"object"}},
		"methods without a time": {onHub(func(c connected) error {
			return c.hub.HandleMethods(c.ctx, hubconn.Methods{Timeout: -1})
		}), []string{"Timeout", "zero"}},
		"upload without a name": {onHub(func(c connected) error {
			return c.hub.Upload(c.ctx, "", strings.NewReader(""), hubconn.UploadOptions{})
		}), []string{"name"}},
		"module without a device": {func(t *testing.T) error { return (&provisioning.Module{ID: "camera"}).Run(t.Context(), idle) }, []string{"device"}},
		"module without an ID": {func(t *testing.T) error {
			return (&provisioning.Module{Device: right()}).Run(t.Context(), idle)
		}, []string{"module", "id"}},
		"module without a key": {func(t *testing.T) error {
			return (&provisioning.Module{ID: "camera", Device: right()}).Run(t.Context(), idle)
		}, []string{"credential"}},
	}
	assert.GreaterOrEqual(t, len(uses), 40)
	for name, u := range uses {
		t.Run(name, func(t *testing.T) { told(t, u.use(t), u.says) })
	}
}
