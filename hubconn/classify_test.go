// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/retry"
)

func TestConnackDecidesTheClass(t *testing.T) {
	for _, row := range []struct {
		code  byte
		delay time.Duration
		class hubconn.Class
	}{
		{1, 0, hubconn.Incompatible},
		{2, 0, hubconn.Rejected},
		{3, 0, hubconn.Server},
		{4, 0, hubconn.Rejected},
		{5, 0, hubconn.Rejected},
		{5, 44 * time.Second, hubconn.Rejected},
		{5, 45 * time.Second, hubconn.Server}, // the hub queued the connection and had no room
		{5, 60 * time.Second, hubconn.Server},
		{1, 46 * time.Second, hubconn.Incompatible},
		{2, 46 * time.Second, hubconn.Rejected},
		{3, 46 * time.Second, hubconn.Server},
		{4, 46 * time.Second, hubconn.Rejected},
		{6, 0, hubconn.Rejected},
		{0x80, 0, hubconn.Rejected},
		{0x84, 0, hubconn.Incompatible}, // the same in MQTT 5
		{0x87, 0, hubconn.Rejected},
		{253, 0, hubconn.Rejected},
		{255, 0, hubconn.Rejected},
	} {
		t.Run(fmt.Sprintf("%d after %v", row.code, row.delay), func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.Inject(hubtest.Fault{
					On: hubtest.Connect, ReturnCode: row.code, Delay: row.delay,
				})
				e := s.fails(row.class)
				assert.Equal(s, row.code, e.ReturnCode)
				assert.Equal(s, row.delay, e.Elapsed)
				assert.Equal(s, "connect", e.Op)
				want := retry.Wait
				if row.class == hubconn.Rejected || row.class == hubconn.Incompatible {
					want = retry.Register
				}
				assert.Equal(s, row.class == hubconn.Incompatible,
					strings.Contains(e.Error(), "this hub does not speak MQTT 3.1.1"), "%v", e)
				assert.Equal(s, want, retry.Classify(e))
				assert.Equal(s, row.class, hubconn.ClassOfReturnCode(row.code, row.delay))
				assert.Zero(s, retry.After(e))
				assert.Len(s, s.hub.Attempts(), 1, "one attempt is one CONNECT")
				s.connect()
			})
		})
	}
}

func TestNoAnswerIsUnreachable(t *testing.T) {
	for name, row := range map[string]struct {
		fault func(*stage)
		after time.Duration
		check func(*stage, *hubconn.Error)
	}{
		"the name does not exist": {
			func(s *stage) { s.network.SetFault(host, simnet.NameNotFound) }, 0,
			func(s *stage, e *hubconn.Error) {
				dns, ok := errors.AsType[*net.DNSError](e)
				require.True(s, ok)
				assert.True(s, dns.IsNotFound)
			},
		},
		"the name server fails": {func(s *stage) { s.network.SetFault(host, simnet.NameFailure) },
			0, func(s *stage, e *hubconn.Error) {
				dns, ok := errors.AsType[*net.DNSError](e)
				require.True(s, ok)
				assert.False(s, dns.IsNotFound)
			}},
		"refused": {func(s *stage) { s.network.SetFault(host, simnet.Refused) }, 0,
			func(s *stage, e *hubconn.Error) {
				assert.ErrorIs(s, e, syscall.ECONNREFUSED)
			}},
		"reset":                {func(s *stage) { s.network.SetFault(host, simnet.ResetOnAccept) }, 0, nil},
		"black hole":           {func(s *stage) { s.network.SetFault(host, simnet.Blackhole) }, 30 * time.Second, nil},
		"silent server":        {func(s *stage) { s.network.Stall(host, true) }, 30 * time.Second, nil},
		"no CONNACK":           {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true}) }, 75 * time.Second, nil},
		"stalled CONNACK":      {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Stall: true}) }, 75 * time.Second, nil},
		"cut CONNACK":          {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Cut: true}) }, 0, nil},
		"closed CONNACK":       {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Close: true}) }, 0, nil},
		"cut in the handshake": {func(s *stage) { s.network.CutAfter(host, 300) }, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				row.fault(s)
				start := time.Now()
				e := s.fails(hubconn.Unreachable)
				assert.Equal(s, row.after, time.Since(start))
				assert.Equal(s, retry.Wait, retry.Classify(e))
				assert.Zero(s, retry.After(e))
				if row.check != nil {
					row.check(s, e)
				}
			})
		})
	}
}

func TestAServerThatDoesNotVerifyIsUntrustedAndToldNothing(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{
		simnet.Expired, simnet.NotYetValid, simnet.UnknownCA, simnet.WrongName,
	} {
		t.Run(kind.String(), func(t *testing.T) {
			play(t, func(s *stage) {
				s.network.SetCertificate(host, kind)
				e := s.fails(hubconn.Untrusted)
				assert.Equal(s, time.Minute, retry.After(e))
				assert.Equal(s, retry.Wait, retry.Classify(e))
				assert.Empty(s, s.hub.Attempts(), "no CONNECT, no upgrade")
				invalid, dates := errors.AsType[x509.CertificateInvalidError](error(e))
				assert.Equal(
					s, kind == simnet.Expired || kind == simnet.NotYetValid,
					dates && invalid.Reason == x509.Expired,
					"whether only the dates are wrong can be told",
				)
				s.network.SetCertificate(host, simnet.Valid)
				s.connect()
			})
		})
	}
}

func TestARefusedUpgrade(t *testing.T) {
	for name, row := range map[string]struct {
		fault hubtest.Fault
		class hubconn.Class
		code  int
		after time.Duration
	}{
		"throttled":                      {hubtest.Fault{Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "120"}, hubconn.Throttled, 429001, 2 * time.Minute},
		"throttled until":                {hubtest.Fault{Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "Sat, 01 Jan 2000 01:00:00 GMT"}, hubconn.Throttled, 429001, time.Hour},
		"throttled without Retry-After":  {hubtest.Fault{Status: 429, ErrorCode: "ThrottlingException"}, hubconn.Throttled, 429001, 10 * time.Second},
		"throttled by a front end":       {hubtest.Fault{Status: 429, RetryAfter: "33"}, hubconn.Throttled, 429000, 33 * time.Second},
		"a Retry-After that is not one":  {hubtest.Fault{Status: 429, RetryAfter: "soon"}, hubconn.Throttled, 429000, 10 * time.Second},
		"quota":                          {hubtest.Fault{Status: 403, ErrorCode: "IotHubQuotaExceeded", Code: 403002}, hubconn.Throttled, 403002, 10 * time.Second},
		"quota by name":                  {hubtest.Fault{Status: 403, ErrorCode: "IotHubQuotaExceeded"}, hubconn.Throttled, 403002, 10 * time.Second},
		"busy":                           {hubtest.Fault{Status: 503, ErrorCode: "ServerBusy", RetryAfter: "40"}, hubconn.Server, 503005, 40 * time.Second},
		"error":                          {hubtest.Fault{Status: 500, ErrorCode: "ServerError", Code: 500001}, hubconn.Server, 500001, 0},
		"bad gateway":                    {hubtest.Fault{Status: 502}, hubconn.Server, 502000, 0},
		"gateway timeout":                {hubtest.Fault{Status: 504, RetryAfter: "5"}, hubconn.Server, 504000, 5 * time.Second},
		"a server error with a bad code": {hubtest.Fault{Status: 503, ErrorCode: "DeviceNotFound", Code: 404001}, hubconn.Server, 404001, 0},
		"unauthorized":                   {hubtest.Fault{Status: 401, ErrorCode: "IotHubUnauthorizedAccess", Code: 401002}, hubconn.Rejected, 401002, 0},
		"not found":                      {hubtest.Fault{Status: 404, ErrorCode: "DeviceNotFound"}, hubconn.Rejected, 404001, 0},
		"forbidden":                      {hubtest.Fault{Status: 403, ErrorCode: "DeviceDisabled"}, hubconn.Rejected, 403012, 0},
		"an unknown name":                {hubtest.Fault{Status: 403, ErrorCode: "SomethingNew"}, hubconn.Rejected, 403000, 0},
		"an unknown code":                {hubtest.Fault{Status: 404, ErrorCode: "SomethingNew", Code: 404999}, hubconn.Rejected, 404999, 0},
		"failing over":                   {hubtest.Fault{Status: 404, ErrorCode: "IotHubFailingOver"}, hubconn.Server, 404012, 0},
		"upgrading":                      {hubtest.Fault{Status: 400, ErrorCode: "ConnectionRejectedOnFaultInjection"}, hubconn.Server, 400030, 0},
		"timed out":                      {hubtest.Fault{Status: 400, ErrorCode: "RequestTimedOut"}, hubconn.Server, 400024, 0},
		"a newer connection":             {hubtest.Fault{Status: 409, ErrorCode: "LinkCreationConflict"}, hubconn.Server, 409002, 0},
		"request timeout":                {hubtest.Fault{Status: 408, ErrorCode: "GenericTimeout", Code: 408000}, hubconn.Server, 408000, 0},
		"unauthorized by a proxy":        {hubtest.Fault{Status: 401}, hubconn.Unreachable, 401000, 0},
		"forbidden by a proxy":           {hubtest.Fault{Status: 403}, hubconn.Unreachable, 403000, 0},
		"not found by a proxy":           {hubtest.Fault{Status: 404}, hubconn.Unreachable, 404000, 0},
		"proxy authentication":           {hubtest.Fault{Status: 407}, hubconn.Unreachable, 407000, 0},
		"captive portal":                 {hubtest.Fault{Status: 302}, hubconn.Unreachable, 302000, 0},
		"a page":                         {hubtest.Fault{Status: 200}, hubconn.Unreachable, 200000, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, simnet.New(), hubconn.MQTTWebSocket)
				row.fault.On = hubtest.Upgrade
				s.hub.Inject(row.fault)
				e := s.fails(row.class)
				assert.Equal(t, "dial", e.Op)
				assert.Equal(t, row.fault.Status, e.Status)
				assert.Equal(t, row.code, e.Code)
				assert.Equal(t, row.fault.ErrorCode, e.Name)
				assert.Equal(t, row.after, retry.After(e))
				assert.WithinDuration(t, s.network.Now(), e.Date, time.Second)
				assert.Equal(t, row.class == hubconn.Rejected, retry.Classify(e) == retry.Register)
				s.connect()
			})
		})
	}
}

// A Retry-After date is read against the answer's own Date: the device may live in 1970.
func TestRetryAfterIsReadByTheServersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTTWebSocket)
		s.network.SetClockOffset(20 * 365 * 24 * time.Hour)
		s.dialer.TLSConfig.Time = s.network.Now
		s.hub.Inject(hubtest.Fault{
			On: hubtest.Upgrade, Status: 429,
			RetryAfter: s.network.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat),
		})
		e := s.fails(hubconn.Throttled)
		assert.Equal(t, 90*time.Second, retry.After(e))
	})
}

func TestAProxyThatRefusesIsUnreachable(t *testing.T) {
	for _, status := range []int{403, 407, 429, 502, 503} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, simnet.New(), hubconn.MQTTWebSocket)
			s.dialer.Proxy = http.ProxyURL(&url.URL{
				Scheme: "http", Host: "proxy.example:3128",
				User: url.UserPassword("user", "canary-secret"),
			})
			s.dialer.DialContext = refusingProxy(status)
			e := s.fails(hubconn.Unreachable)
			assert.Equal(t, status, e.Status)
			assert.NotContains(t, e.Error(), "canary")
			assert.Empty(t, s.hub.Attempts())
		})
	}
}

// A hub that ends TLS over the device's certificate rejects the device. Under TLS 1.3 the news
// arrives after the client's handshake.
func TestAnAlertAboutTheCertificateIsARejection(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		play(t, func(s *stage) {
			ca := simnet.NewCA("the network's", time.Now())
			cert := ca.Server(host)
			s.dialer.TLSConfig = &tls.Config{RootCAs: ca.Pool()}
			s.dialer.DialContext = inMemory(func(nc net.Conn) {
				tc := tls.Server(nc, &tls.Config{
					Certificates: []tls.Certificate{cert},
					ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
					MinVersion: version, MaxVersion: version,
				})
				_ = tc.Handshake()
				_, _ = io.Copy(io.Discard, nc)
			})
			_, err := s.dialer.Dial(s.Context(), s.at, clientCert{ca.Device("dev1")})
			e := s.is(err, hubconn.Rejected)
			assert.Equal(s, retry.Register, retry.Classify(e))
		})
	}
}

func TestClassOfAForeignErrorIsUnreachable(t *testing.T) {
	assert.Equal(t, hubconn.Unreachable, hubconn.ClassOf(errors.New("what")))
	assert.Equal(t, hubconn.Unreachable, hubconn.ClassOf(nil))
	assert.Equal(t, hubconn.Throttled, hubconn.ClassOf(
		fmt.Errorf("a: %w", errors.Join(io.EOF, &hubconn.Error{Class: hubconn.Throttled})),
	))
}
