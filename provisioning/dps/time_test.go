// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

func TestTimeIsTheServicesWhateverOurClockSays(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, offset := range []time.Duration{
		0, 3 * time.Minute, -3 * time.Minute, 3 * 24 * time.Hour, -3 * 24 * time.Hour, 2 * year,
		-2 * year, 26 * year, -29 * year,
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetClockOffset(offset)
			told, err := w.client.Time(w.Context())
			require.NoError(w, err, "the service's clock is %v ahead", offset)
			assert.WithinDuration(w, w.network.Now(), told, time.Second)
			assert.Zero(w, w.elapsed())
			assert.Equal(w, []dpstest.Op{dpstest.Clock}, w.requests(), "nothing but a HEAD")
			assert.LessOrEqual(w, w.network.Dials(dpstest.GlobalEndpoint), 2)
		})
	}
}

func TestTimeGoesByTheClientsOwnClock(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.network.SetClockOffset(26 * 365 * 24 * time.Hour)
		w.client.TLSConfig.Time = w.network.Now
		told, err := w.client.Time(w.Context())
		require.NoError(w, err)
		assert.WithinDuration(w, w.network.Now(), told, time.Second)
		assert.Equal(w, 1, w.network.Dials(dpstest.GlobalEndpoint), "no second look was needed")
	})
}

func TestTimeSendsNoCredential(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		pair := w.network.CA().Device(clientID)
		w.client.Attestation = dps.X509{KeyPair: pair}
		w.client.TLSConfig.Certificates = []tls.Certificate{pair}
		w.client.TLSConfig.GetClientCertificate = func(
			*tls.CertificateRequestInfo,
		) (*tls.Certificate, error) {
			return nil, errors.New("a certificate is presented")
		}
		for _, offset := range []time.Duration{0, 26 * 365 * 24 * time.Hour} {
			w.network.SetClockOffset(offset)
			_, err := w.client.Time(w.Context())
			require.NoError(w, err)
		}
	})
}

func TestTimeTrustsNoOtherServer(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.UnknownCA, simnet.WrongName} {
		for _, offset := range []time.Duration{0, 26 * 365 * 24 * time.Hour} {
			t.Run(fmt.Sprint(kind, offset), func(t *testing.T) {
				clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
					w.network.SetClockOffset(offset)
					w.network.SetCertificate(dpstest.GlobalEndpoint, kind)
					_, err := w.client.Time(w.Context())
					_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
					assert.True(w, untrusted, "%v", err)
					assert.Equal(w, retry.Wait, retry.Classify(err))
					assert.Zero(w, w.dps.Count())
				})
			})
		}
	}
}

func TestTimeRefusesADateThatTheCertificateDoesNotCover(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.Expired, simnet.NotYetValid} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetCertificate(dpstest.GlobalEndpoint, kind)
			told, err := w.client.Time(w.Context())
			require.ErrorContains(w, err, "outside the validity", kind)
			assert.Zero(w, told)
		})
	}
}

func TestTimeIsToldByAnyAnswer(t *testing.T) {
	for _, status := range []int{401, 429, 500, 503} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{On: dpstest.Clock, Status: status})
			told, err := w.client.Time(w.Context())
			assert.WithinDuration(w, time.Now(), told, time.Second)
			if status == 401 {
				require.NoError(w, err)
				return
			}
			failure, ok := errors.AsType[*dps.Error](err)
			require.True(w, ok, "it told the time, and is to be left alone")
			assert.Equal(w, status, failure.Status)
			assert.Equal(w, retry.Wait, failure.Verdict())
		})
	}
}

func TestTimeEndsWithItsContextAndItsLimit(t *testing.T) {
	errShutdown := errors.New("the program is told to end")
	for _, offset := range []time.Duration{0, 26 * 365 * 24 * time.Hour} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetClockOffset(offset)
			w.dps.Inject(dpstest.Fault{On: dpstest.Clock, NoAnswer: true, Times: -1})
			ctx, cancel := context.WithCancelCause(w.Context())
			timer := time.AfterFunc(5*time.Second, func() { cancel(errShutdown) })
			defer timer.Stop()
			defer cancel(nil)
			_, err := w.client.Time(ctx)
			require.ErrorIs(w, err, errShutdown)
			assert.Equal(w, 5*time.Second, w.elapsed())

			_, err = w.client.Time(w.Context())
			require.ErrorContains(w, err, "no answer within 30s")
			assert.Equal(w, 35*time.Second, w.elapsed())
			assert.Equal(w, retry.Wait, retry.Classify(err))
		})
	}
}

func TestTimeNeedsADate(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.client.Endpoint = "dps.example.net"
		for _, date := range []string{"", "yesterday"} {
			w.network.Handle("dps.example.net", clientSite{
				HandlerFunc: func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header()["Date"] = nil
					if date != "" {
						rw.Header().Set("Date", date)
					}
				},
			})
			_, err := w.client.Time(w.Context())
			require.ErrorContains(w, err, "no readable date")
		}
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		_, err := w.client.Time(ctx)
		require.ErrorIs(w, err, context.Canceled)
	})
}
