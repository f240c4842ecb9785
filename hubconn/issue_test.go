// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// issuing is a stage whose hub issues certificates to the device.
type issuing struct {
	*stage
	leafKey *ecdsa.PrivateKey
	csr     []byte
}

func playIssuing(t *testing.T, scene func(*issuing)) {
	t.Helper()
	play(t, func(s *stage) { scene(newIssuing(s)) })
}

func newIssuing(s *stage) *issuing {
	policy := hubtest.CertificatePolicy{Namespace: "fleet", Authority: "ica1", Name: "month"}
	issuer := hubtest.NewIssuer(s.network, hubtest.IssuerConfig{})
	require.NoError(s, issuer.SetPolicy(policy))
	s.hub.SetIssuer(issuer)
	require.NoError(s, s.hub.Put(hubtest.Device{
		ID: "dev1", PrimaryKey: base64.StdEncoding.EncodeToString(s.key),
		CertificatePolicy: policy.ID(),
	}))
	s.dialer.APIVersion = hubconn.CredentialsAPIVersion
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s, err)
	csr, err := x509.CreateCertificateRequest(
		rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "dev1"}}, key,
	)
	require.NoError(s, err)
	return &issuing{stage: s, leafKey: key, csr: csr}
}

// pair is the certificate of a chain as the hub wrote it.
func (i *issuing) pair(chain []string) clientCert {
	i.Helper()
	var pair tls.Certificate
	for _, text := range chain {
		der, err := base64.StdEncoding.DecodeString(text)
		require.NoError(i, err)
		if block, _ := pem.Decode(der); block != nil {
			der = block.Bytes
		}
		pair.Certificate = append(pair.Certificate, der)
	}
	pair.PrivateKey = i.leafKey
	return clientCert{pair}
}

// is checks an error of a request for a certificate.
func (i *issuing) is(err error, class hubconn.Class) *hubconn.Error {
	i.Helper()
	e := i.stage.is(err, class)
	assert.Equal(i, "certificate", e.Op)
	return e
}

// starts counts the requests that the hub has answered, and how many certificates it has sent.
func (i *issuing) counts() (starts, ends int) {
	for _, o := range i.hub.Operations() {
		switch o.On {
		case hubtest.IssueStart:
			starts++
		case hubtest.IssueEnd:
			ends++
		}
	}
	return starts, ends
}

func TestAHubIssuesACertificateThatTheConnectionGoesOnWith(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		conn := i.connect()
		for range 3 {
			var told []time.Time
			chain, err := conn.IssueCertificate(i.Context(), hubconn.CertificateRequest{
				CSR: i.csr, Accepted: func(expires time.Time) { told = append(told, expires) },
			})
			require.NoError(i, err)
			require.Len(i, chain, 3)
			require.Len(i, told, 1)
			assert.WithinDuration(i, time.Now().Add(12*time.Hour), told[0], time.Minute)
			require.NoError(i, conn.SetCredential(i.Context(), i.pair(chain)))
			i.serves(conn)
		}
		starts, ends := i.counts()
		assert.Equal(i, []int{3, 3}, []int{starts, ends})
	})
}

func TestWhatAHubRefusesOfARequestForACertificate(t *testing.T) {
	for code, row := range map[int]struct {
		class hubconn.Class
		wait  time.Duration
	}{
		400001: {hubconn.Caller, 0}, 400004: {hubconn.Caller, 0}, 400006: {hubconn.Caller, 0},
		400037: {hubconn.Caller, 0}, 400040: {hubconn.Caller, 0}, 403010: {hubconn.Caller, 0},
		404001: {hubconn.Rejected, 0}, 409004: {hubconn.Server, 0}, 409005: {hubconn.Server, 0},
		412001: {hubconn.Caller, 0}, 412005: {hubconn.Caller, 0},
		429002: {hubconn.Throttled, time.Second}, 429003: {hubconn.Throttled, time.Second},
		500001: {hubconn.Server, 5 * time.Minute}, 503001: {hubconn.Server, 5 * time.Second},
		503102: {hubconn.Server, 5 * time.Second},
	} {
		for _, on := range []hubtest.Stage{hubtest.IssueStart, hubtest.IssueEnd} {
			for _, asked := range []time.Duration{0, 77 * time.Second} {
				t.Run(fmt.Sprint(code, on, asked), func(t *testing.T) {
					playIssuing(t, func(i *issuing) {
						conn := i.connect()
						fault := hubtest.Fault{On: on, Code: code, Message: "no\nway"}
						wait := row.wait
						if asked > 0 {
							fault.RetryAfter, wait = fmt.Sprint(asked.Seconds()), asked
						}
						i.hub.Inject(fault)
						r := hubconn.CertificateRequest{CSR: i.csr}
						_, err := conn.IssueCertificate(i.Context(), r)
						e := i.is(err, row.class)
						assert.Equal(i, code, e.Code)
						assert.Equal(i, code/1000, e.Status)
						assert.Equal(i, wait, e.RetryAfter())
						assert.NotEmpty(i, e.TrackingID)
						assert.Equal(i, code/1000 == 409, e.Pending != nil)
						i.serves(conn)
						_, err = conn.IssueCertificate(i.Context(), r)
						require.NoError(i, err)
					})
				})
			}
		}
	}
}

func TestARequestThatIsFoundWrongLaterSaysWhy(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		conn := i.connect()
		_, err := conn.IssueCertificate(
			i.Context(), hubconn.CertificateRequest{CSR: []byte("\x30\x00")},
		)
		e := i.is(err, hubconn.Caller)
		assert.Equal(i, 400037, e.Code)
		assert.Contains(i, e.Message, "failed verification")
	})
}

func TestASecondRequestForACertificateIsToldOfTheFirst(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: time.Hour, Times: -1})
		conn := i.connect()
		ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
		defer cancel()
		_, err := conn.IssueCertificate(ctx, hubconn.CertificateRequest{ID: "first", CSR: i.csr})
		require.ErrorIs(i, err, context.DeadlineExceeded)
		second := hubconn.CertificateRequest{ID: "second", CSR: i.csr}
		_, err = conn.IssueCertificate(i.Context(), second)
		e := i.is(err, hubconn.Server)
		require.NotNil(i, e.Pending)
		assert.Equal(i, "first", e.Pending.ID)
		assert.WithinDuration(i, time.Now().Add(12*time.Hour), e.Pending.Expires, 2*time.Minute)
		assert.Contains(i, e.Error(), "request first")
		assert.Equal(i, 5*time.Second, e.RetryAfter(), "the hub's is shorter")

		second.Replace = "third"
		_, err = conn.IssueCertificate(i.Context(), second)
		assert.Equal(i, 412001, i.is(err, hubconn.Caller).Code)
		for _, replace := range []string{"first", "*"} {
			second.Replace = replace
			i.hub.ClearFaults()
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Skip: 1, Delay: time.Hour})
			_, err = conn.IssueCertificate(i.Context(), second)
			require.NoError(i, err)
			ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
			_, err := conn.IssueCertificate(ctx, hubconn.CertificateRequest{CSR: i.csr})
			require.ErrorIs(i, err, context.DeadlineExceeded)
			cancel()
			second.ID += "-x"
		}
	})
}

// The link is replaced while the hub works on the request, before or after it has accepted it.
// Those that wait replace the request of an earlier process, or none.
func TestARequestForACertificateOutlivesTheLink(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"accepted":     {On: hubtest.IssueEnd, Delay: 3 * time.Hour},
		"not answered": {On: hubtest.IssueStart, NoAnswer: true},
		"begun":        {On: hubtest.IssueStart, NoAnswer: true, Stored: true},
	} {
		for _, replace := range []string{"", "*", "earlier"} {
			t.Run(name+" "+replace, func(t *testing.T) {
				playIssuing(t, func(i *issuing) {
					first := i.holderBesidesPolicy()
					conn := i.connect()
					if replace != "" {
						i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: 10 * time.Hour})
						ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
						_, err := conn.IssueCertificate(
							ctx, hubconn.CertificateRequest{ID: "earlier", CSR: i.csr},
						)
						require.ErrorIs(i, err, context.DeadlineExceeded)
						cancel()
					}
					i.hub.Inject(fault)
					result := make(chan error, 1)
					go func() {
						_, err := conn.IssueCertificate(i.Context(), hubconn.CertificateRequest{
							CSR: i.csr, Replace: replace,
						})
						result <- err
					}()
					time.Sleep(time.Minute)
					require.NoError(i, conn.SetCredential(i.Context(), first))
					require.NoError(i, conn.SetCredential(i.Context(), i.key))
					require.NoError(i, <-result)
					_, ends := i.counts()
					assert.Equal(i, 1, ends)
					if name == "accepted" {
						assert.GreaterOrEqual(i, conn.Stats().Renewed, uint64(2))
					}
					i.serves(conn)
				})
			})
		}
	}
}

// The refusal comes while the link is replaced: it may be read before the end of the link is seen,
// or after it, and ends the call in neither case.
func TestARefusalOverTheRequestToBeReplacedOutlivesTheLink(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		first := i.holderBesidesPolicy()
		conn := i.connect()
		for range 100 {
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: 10 * time.Hour})
			ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
			_, err := conn.IssueCertificate(ctx, hubconn.CertificateRequest{CSR: i.csr})
			require.ErrorIs(i, err, context.DeadlineExceeded)
			cancel()
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueStart, NoAnswer: true})
			result := make(chan error, 1)
			go func() {
				_, err := conn.IssueCertificate(i.Context(), hubconn.CertificateRequest{
					CSR: i.csr, Replace: "*",
				})
				result <- err
			}()
			time.Sleep(10 * time.Second)
			require.NoError(i, conn.SetCredential(i.Context(), first))
			time.Sleep(2 * time.Second) // now it is sent again, without Replace
			require.NoError(i, conn.SetCredential(i.Context(), i.key))
			require.NoError(i, <-result)
		}
	})
}

// holderBesidesPolicy gives the device a certificate of its own, too.
func (i *issuing) holderBesidesPolicy() (first clientCert) {
	d, _ := i.hub.Get("dev1")
	first = clientCert{i.network.CA().Device("dev1")}
	d.PrimaryThumbprint = hubtest.Thumbprint(first.chain.Leaf)
	require.NoError(i, i.hub.Put(d))
	return first
}

func TestARequestForACertificateIsResumedOverTheNextConnection(t *testing.T) {
	for name, when := range map[string]time.Duration{
		"before it is issued": time.Minute, "after": 2 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			playIssuing(t, func(i *issuing) {
				i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: time.Hour})
				r := hubconn.CertificateRequest{ID: "abcd", CSR: i.csr}
				conn := i.connect()
				time.AfterFunc(time.Minute, func() { i.hub.Disconnect("dev1") })
				_, err := conn.IssueCertificate(i.Context(), r)
				i.is(err, hubconn.Unreachable)
				time.Sleep(when)
				conn = i.connect()
				chain, err := conn.IssueCertificate(i.Context(), r)
				require.NoError(i, err)
				require.NoError(i, conn.SetCredential(i.Context(), i.pair(chain)))
				time.Sleep(time.Minute)
				_, err = conn.IssueCertificate(i.Context(), hubconn.CertificateRequest{CSR: i.csr})
				require.NoError(i, err, "nothing is pending")
			})
		})
	}
}

// The certificate follows the subscription; a request that met it on its way would have the hub
// begin anew, and refuse the next one.
func TestACertificateThatTheHubHasKeptIsNotAskedForAgain(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		first, conn := i.holderBesidesPolicy(), i.connect()
		require.NoError(i, conn.SetCredential(i.Context(), first)) // no token is renewed
		r := hubconn.CertificateRequest{ID: "abcd", CSR: i.csr}
		for n := range 20 {
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: time.Hour})
			ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
			_, err := conn.IssueCertificate(ctx, r)
			require.ErrorIs(i, err, context.DeadlineExceeded)
			cancel()
			time.Sleep(2 * time.Hour)
			_, err = conn.IssueCertificate(i.Context(), r)
			require.NoError(i, err)
			starts, ends := i.counts()
			require.Equal(i, []int{n + 1, n + 1}, []int{starts, ends})
		}
	})
}

// Between two calls there is no subscription, so the hub keeps the certificate for the second one.
func TestACertificateThatIsIssuedBetweenTwoCallsIsTheSecondOnes(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		for _, id := range []string{"abcd", "", "efgh"} {
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueEnd, Delay: time.Hour})
			conn := i.connect()
			ctx, cancel := context.WithTimeout(i.Context(), time.Minute)
			_, err := conn.IssueCertificate(ctx, hubconn.CertificateRequest{ID: "abcd", CSR: i.csr})
			require.ErrorIs(i, err, context.DeadlineExceeded)
			cancel()
			time.Sleep(2 * time.Hour)
			chain, err := conn.IssueCertificate(
				i.Context(), hubconn.CertificateRequest{ID: id, CSR: i.csr},
			)
			if err != nil { // another one's was on its way
				i.is(err, hubconn.Server)
				chain, err = conn.IssueCertificate(
					i.Context(), hubconn.CertificateRequest{CSR: i.csr},
				)
			}
			require.NoError(i, err)
			require.NoError(i, conn.SetCredential(i.Context(), i.pair(chain)))
			require.NoError(i, conn.Close())
			i.hub.ClearFaults()
		}
	})
}

func TestARequestForACertificateWithoutAnAnswerEnds(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		r := hubconn.CertificateRequest{CSR: i.csr}
		for name, row := range map[string]struct {
			fault hubtest.Fault
			takes time.Duration
		}{
			"never accepted": {hubtest.Fault{On: hubtest.IssueStart, NoAnswer: true}, 2 * time.Minute},
			"never issued": {
				// that is begun anew after each renewal of the token
				hubtest.Fault{On: hubtest.IssueEnd, NoAnswer: true, Times: -1}, 24 * time.Hour,
			},
		} {
			conn := i.connect()
			i.hub.Inject(row.fault)
			start := time.Now()
			_, err := conn.IssueCertificate(i.Context(), r)
			i.is(err, hubconn.Server)
			assert.ErrorIs(i, err, hubconn.ErrNoAnswer, name)
			assert.InDelta(i, row.takes.Seconds(), time.Since(start).Seconds(), 1, name)
			require.NoError(i, conn.Context().Err())
			require.NoError(i, conn.Close())
			i.hub.ClearFaults()
		}
		i.dialer.TokenTTL = time.Minute // a renewal gives no more time than it needs
		i.hub.Inject(hubtest.Fault{On: hubtest.IssueStart, NoAnswer: true, Times: -1})
		conn := i.connect()
		start := time.Now()
		_, err := conn.IssueCertificate(i.Context(), r)
		i.is(err, hubconn.Server)
		assert.ErrorIs(i, err, hubconn.ErrNoAnswer)
		assert.Less(i, time.Since(start), 4*time.Minute)
	})
}

func TestARequestForACertificateEndsWithItsContextOrConnection(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		for n, fault := range []hubtest.Fault{
			{On: hubtest.IssueStart, NoAnswer: true}, {On: hubtest.IssueEnd, Delay: time.Hour},
			{On: hubtest.Subscribe, NoAnswer: true},
		} {
			i.hub.Inject(fault)
			conn := i.connect()
			r := hubconn.CertificateRequest{ID: fmt.Sprint("abcd", n), CSR: i.csr}
			ctx, cancel := context.WithTimeout(i.Context(), 10*time.Second)
			result := make(chan error, 1)
			go func() {
				_, err := conn.IssueCertificate(ctx, r)
				result <- err
			}()
			synctest.Wait()
			_, err := conn.IssueCertificate(i.Context(), r)
			assert.Contains(i, i.is(err, hubconn.Caller).Error(), r.ID+" is under way")
			assert.ErrorIs(i, <-result, context.DeadlineExceeded)
			_, err = conn.IssueCertificate(ctx, r)
			assert.ErrorIs(i, err, context.DeadlineExceeded)
			cancel()
			time.AfterFunc(time.Second/2, func() { _ = conn.Close() })
			i.hub.Inject(hubtest.Fault{On: hubtest.IssueStart, NoAnswer: true})
			_, err = conn.IssueCertificate(i.Context(), r)
			assert.ErrorIs(i, err, hubconn.ErrClosed)
			_, err = conn.IssueCertificate(i.Context(), r)
			assert.ErrorIs(i, err, hubconn.ErrClosed)
			i.hub.ClearFaults()
			time.Sleep(13 * time.Hour)
		}
	})
}

func TestWrongRequestsForACertificateAreNotSent(t *testing.T) {
	playIssuing(t, func(i *issuing) {
		conn := i.connect()
		for name, r := range map[string]hubconn.CertificateRequest{
			"CSR is empty":   {},
			"CSR is PEM":     {CSR: []byte("-----BEGIN CERTIFICATE REQUEST-----")},
			"larger than":    {CSR: make([]byte, 6145)},
			`ID: "abc"`:      {CSR: i.csr, ID: "abc"},
			`ID: "-abcd"`:    {CSR: i.csr, ID: "-abcd"},
			`ID: "ab/cd"`:    {CSR: i.csr, ID: "ab/cd"},
			`Replace: "abc"`: {CSR: i.csr, Replace: "abc"},
		} {
			_, err := conn.IssueCertificate(i.Context(), r)
			assert.Contains(i, i.is(err, hubconn.Caller).Error(), name)
		}
		i.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true})
		_, err := conn.IssueCertificate(i.Context(), hubconn.CertificateRequest{CSR: i.csr})
		i.is(err, hubconn.Caller)
		starts, _ := i.counts()
		assert.Zero(i, starts)
		_, err = conn.IssueCertificate(
			i.Context(), hubconn.CertificateRequest{CSR: make([]byte, 6144)},
		)
		assert.Equal(i, 400037, i.is(err, hubconn.Caller).Code, "the longest is the hub's to judge")

		i.stage.becomesModule()
		_, err = i.connect().IssueCertificate(
			i.Context(), hubconn.CertificateRequest{CSR: i.csr},
		)
		assert.Contains(i, i.is(err, hubconn.Caller).Error(), "not to modules")
		require.NoError(i, conn.Context().Err())
	})
}
