// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

func TestRegisterPollsUntilAssigned(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		assignment := w.register(dps.Registration{})
		assert.Equal(w, 6*time.Second, w.elapsed(), "two polls, 3 s apart")
		assert.Equal(w, []dpstest.Op{dpstest.Register, dpstest.Poll, dpstest.Poll}, w.requests())
		assert.Equal(w, clientHub, assignment.Hub)
		assert.Equal(w, clientID, assignment.DeviceID)
		assert.Equal(w, clientID, assignment.RegistrationID)
		assert.Equal(w, "assigned", assignment.Status)
		assert.Equal(w, "initialAssignment", assignment.Substatus)
		assert.NotEmpty(w, assignment.ETag)
		assert.Nil(w, assignment.Payload)
		assert.WithinDuration(w, w.start, assignment.Created, 10*time.Second)
		assert.WithinDuration(w, w.start, assignment.Updated, 10*time.Second)
		for _, r := range w.dps.Requests() {
			assert.Equal(w, w.client.Transport.String(), r.Transport)
			assert.Equal(w, clientID, r.RegistrationID)
			assert.Equal(w, "2021-06-01", r.APIVersion)
		}
		if w.client.Transport == dps.HTTPS {
			assert.WithinDuration(w, time.Now(), assignment.Date, time.Second)
		} else {
			assert.Zero(w, assignment.Date)
		}
		assert.Equal(
			w, 1, w.network.Dials(dpstest.GlobalEndpoint),
			"one connection serves the whole registration",
		)
		synctest.Wait()
		assert.Zero(w, w.network.Cut(dpstest.GlobalEndpoint), "and is closed at its end")
	})
}

func TestRegisterWaitsAsLongAsAsked(t *testing.T) {
	config := dpstest.Config{RetryAfter: 1000 * time.Second, AssignTime: 50 * time.Minute}
	clientEach(t, config, func(w *clientWorld) {
		w.register(dps.Registration{})
		assert.Equal(w, 3000*time.Second, w.elapsed())
	})
}

func TestRegisterWaitsThreeSecondsWhenNotTold(t *testing.T) {
	clientEach(t, dpstest.Config{RetryAfter: -1}, func(w *clientWorld) {
		w.register(dps.Registration{})
		assert.Equal(w, 6*time.Second, w.elapsed())
	})
}

func TestRegisterNeverSpins(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"0": 2 * time.Second, "-7": 3 * time.Second, "soon": 3 * time.Second, "1": 2 * time.Second,
	} {
		clientEach(t, dpstest.Config{AssignTime: 2 * time.Second}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{Times: 2, RetryAfter: value, On: dpstest.Register})
			w.dps.Inject(dpstest.Fault{Times: 2, RetryAfter: value, On: dpstest.Poll})
			w.register(dps.Registration{})
			assert.Equal(w, want, w.elapsed(), "Retry-After: %s", value)
		})
	}
}

func TestRegisterPollsWhileUnassigned(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Poll, Perform: true, Status: 202,
			Body: []byte(`{"operationId":"","status":"unassigned"}`),
		})
		w.register(dps.Registration{})
		assert.Equal(w, []dpstest.Op{dpstest.Register, dpstest.Poll, dpstest.Poll}, w.requests())
	})
}

func TestRegisterTellsOfTheOperationBeforeItWaits(t *testing.T) {
	type pending struct {
		operation string
		wait      time.Duration
		at        time.Duration
	}
	config := dpstest.Config{RetryAfter: 90 * time.Second, AssignTime: 94 * time.Second}
	clientEach(t, config, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, RetryAfter: "0"})
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Poll, Perform: true, Status: 202, NoRetryAfter: true,
			Body: []byte(`{"operationId":"","status":"unassigned"}`),
		})
		var told []pending
		ctx, stop := context.WithCancel(w.Context())
		defer stop()
		registration := dps.Registration{Pending: func(operation string, wait time.Duration) {
			told = append(told, pending{operation, wait, w.elapsed()})
		}}
		w.register(registration)
		require.Len(w, told, 3)
		operation := told[0].operation
		require.NotEmpty(w, operation)
		assert.Equal(w, []pending{
			{operation, 90 * time.Second, 0},
			{operation, time.Second, 90 * time.Second}, // the least, whatever the service says
			{operation, 3 * time.Second, 91 * time.Second},
		}, told)

		// Who is told of it can end there and then, and go on with the operation later.
		told, w.start = nil, time.Now()
		registration.Pending = func(operation string, wait time.Duration) {
			told = append(told, pending{operation, wait, w.elapsed()})
			stop()
		}
		_, err := w.client.Register(ctx, registration)
		require.ErrorIs(w, err, context.Canceled)
		require.Len(w, told, 1)
		assert.Zero(w, w.elapsed())

		time.Sleep(time.Hour)
		w.dps.ResetLog()
		w.start = time.Now()
		resumed := dps.Registration{
			OperationID: told[0].operation,
			Pending:     func(string, time.Duration) { w.Error("nothing is pending any more") },
		}
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Status: 503})
		failure := w.refused(resumed)
		assert.Equal(w, told[0].operation, failure.OperationID)
		assert.Zero(w, w.elapsed(), "it is polled at once")
		assert.Equal(w, []dpstest.Op{dpstest.Poll}, w.requests())
	})
}

func TestRegisterThatIsAnsweredAtOnceHasNothingPending(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.clientAnswers(200, clientAssigned)
		w.register(dps.Registration{
			Pending: func(string, time.Duration) { w.Error("nothing is pending") },
		})
	})
}

func TestRegisterSendsAndReturnsPayloads(t *testing.T) {
	config := dpstest.Config{
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			return dpstest.Allocated{
				Hub: clientHub, Payload: json.RawMessage(`{"echo":` + string(a.Payload) + `}`),
			}, nil
		},
	}
	clientEach(t, config, func(w *clientWorld) {
		assignment := w.register(dps.Registration{
			Payload: map[string]any{"model": "t-1", "rooms": []int{1, 2}},
		})
		assert.JSONEq(w, `{"echo":{"model":"t-1","rooms":[1,2]}}`, string(assignment.Payload))
		assert.JSONEq(
			w, `{"model":"t-1","rooms":[1,2]}`, string(w.dps.Requests()[firstRegister(w)].Payload),
		)
	})
}

func firstRegister(w *clientWorld) int {
	for i, r := range w.dps.Requests() {
		if r.Op == dpstest.Register {
			return i
		}
	}
	w.Fatal("no register request")
	return -1
}

func TestRegisterPayloadThatMarshalsToNothingIsNotSent(t *testing.T) {
	type settings struct{ A int }
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.register(dps.Registration{Payload: (*settings)(nil)})
		assert.Empty(w, w.dps.Requests()[0].Payload)
		failure := w.refusedUnsent(dps.Registration{Payload: func() {}})
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

// refusedUnsent expects a registration that is refused without asking the service.
func (w *clientWorld) refusedUnsent(r dps.Registration) *dps.Error {
	w.Helper()
	w.dps.ResetLog()
	_, err := w.client.Register(w.Context(), r)
	failure, ok := errors.AsType[*dps.Error](err)
	require.True(w, ok, "%v", err)
	assert.Zero(w, w.dps.Count())
	return failure
}

func TestRegisterWithCertificate(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		intermediate := w.network.CA().Intermediate("factory")
		require.NoError(w, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "boards",
			Attestation:       dpstest.SigningCertificates(intermediate.Certificate(), nil),
		}))
		pair := intermediate.Device("board-7")
		key, ok := pair.PrivateKey.(crypto.Signer)
		require.True(w, ok)
		pair.PrivateKey = clientSigner{key}
		w.client.Attestation = dps.X509{KeyPair: pair}
		assignment := w.register(dps.Registration{})
		assert.Equal(w, "board-7", assignment.DeviceID)

		looked, err := w.client.Lookup(w.Context())
		require.NoError(w, err)
		assert.Equal(w, clientHub, looked.Hub)
	})
}

func TestRegisterWithCertificateNobodyEnrolled(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.client.Attestation = dps.X509{
			KeyPair: simnet.NewCA("stranger", time.Now()).Device("board-7"),
		}
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 401, failure.Status)
		assert.Equal(w, 401002, failure.Code)
		assert.NotEmpty(w, failure.TrackingID)
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

func TestRegisterWithDerivedKey(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		const group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/" +
			"lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
		require.NoError(w, w.dps.EnrollGroup(
			dpstest.EnrollmentGroup{EnrollmentGroupID: "all", Attestation: dpstest.Keys(group, "")},
		))
		key, err := dps.DeriveDeviceKey(group, "urn:board:8")
		require.NoError(w, err)
		w.client.Attestation = dps.SymmetricKey{ID: "urn:board:8", Key: key}
		assert.Equal(
			w, "urn:board:8", w.register(dps.Registration{}).DeviceID,
			"colons are escaped in paths and resources",
		)

		w.client.Attestation = dps.SymmetricKey{ID: "urn:board:9", Key: group}
		assert.Equal(
			w, 401, w.refused(dps.Registration{}).Status, "the group's own key is nobody's",
		)
	})
}

func TestRegisterRefusedByStatus(t *testing.T) {
	for _, in := range []struct {
		fault dpstest.Fault
		want  retry.Verdict
		wait  time.Duration
	}{
		{dpstest.Fault{Code: 401000}, retry.Stop, 0},
		{dpstest.Fault{Code: 404201}, retry.Stop, 0},
		{dpstest.Fault{Code: 409203}, retry.Wait, 0},
		{dpstest.Fault{Code: 429001}, retry.Wait, 0},
		{dpstest.Fault{Code: 429001, RetryAfter: "12"}, retry.Wait, 12 * time.Second},
		{dpstest.Fault{Code: 429001, RetryAfter: "0"}, retry.Wait, time.Second},
		{dpstest.Fault{Code: 500001}, retry.Wait, 0},
		{dpstest.Fault{Status: 503, RetryAfter: "60"}, retry.Wait, time.Minute},
		{dpstest.Fault{Status: 403}, retry.Stop, 0},
		{dpstest.Fault{Status: 503, Body: []byte("<html>upstream</html>"), ContentType: "text/html"}, retry.Wait, 0},
		{dpstest.Fault{Status: 403, Body: []byte("<html>blocked</html>"), ContentType: "text/html"}, retry.Wait, 0},
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			in.fault.On = dpstest.Register
			w.dps.Inject(in.fault)
			failure := w.refused(dps.Registration{})
			assert.Equal(w, in.want, failure.Verdict(), "%v", failure)
			assert.Equal(w, "register", failure.Op)
			assert.Equal(w, in.wait, retry.After(failure))
			if in.fault.Body == nil {
				assert.NotEmpty(w, failure.TrackingID)
				assert.NotZero(w, failure.Code)
			}
			assert.Equal(w, []dpstest.Op{dpstest.Register}, w.requests(), "one attempt")
			assert.Zero(w, w.elapsed())
		})
	}
}

func TestRegisterReadsRetryAfterDateByTheServicesClock(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.network.SetClockOffset(2 * time.Hour)
		date := w.network.Now().Add(90 * time.Second).UTC().Format(time.RFC1123)
		w.dps.Inject(dpstest.Fault{
			On: dpstest.Register, Code: 429001, RetryAfter: date[:len(date)-3] + "GMT",
		})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 90*time.Second, failure.Wait, "our clock is two hours behind")
		assert.WithinDuration(w, w.network.Now(), failure.Date, time.Second)
	})
}

func TestRegisterThrottledPollResumesTheSameOperation(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Code: 429001, RetryAfter: "30"})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "poll", failure.Op)
		assert.Equal(w, retry.Wait, failure.Verdict())
		assert.Equal(w, 30*time.Second, failure.Wait)
		require.NotEmpty(w, failure.OperationID)

		time.Sleep(failure.Wait)
		assignment := w.register(dps.Registration{OperationID: failure.OperationID})
		assert.Equal(w, clientHub, assignment.Hub)
		assert.Equal(w, 1, w.dps.Count(dpstest.Register), "never registered anew")
	})
}

func TestRegisterLostOperationCallsForRegistering(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, DropOperation: true})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 404203, failure.Code)
		assert.Equal(w, retry.Register, failure.Verdict())

		failure = w.refused(dps.Registration{OperationID: "5.0000000000000000.unknown"})
		assert.Equal(w, retry.Register, failure.Verdict())
		failure = w.refusedUnsent(dps.Registration{OperationID: "a b"})
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

func TestRegisterDisabledOrFailedIsFinal(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		require.NoError(w, w.dps.SetEnabled(clientID, false))
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "disabled", failure.State)
		assert.Equal(w, 200, failure.Status)
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
	config := dpstest.Config{
		Allocate: func(context.Context, dpstest.Allocation) (dpstest.Allocated, error) {
			return dpstest.Allocated{}, errors.New("the webhook is down")
		},
	}
	clientEach(t, config, func(w *clientWorld) {
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "failed", failure.State)
		assert.Equal(w, 400207, failure.Code)
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

func TestRegisterWithAnAnswerThatIsNotTheServices(t *testing.T) {
	for name, body := range map[string]string{
		"html":         "<html><body>login</body></html>",
		"truncated":    `{"operationId":"5.a.b","status":"assi`,
		"wrong type":   `{"operationId":5,"status":"assigning"}`,
		"no fields":    `{}`,
		"no hub":       `{"operationId":"5.a.b","status":"assigned","registrationState":{"deviceId":"d"}}`,
		"hostile hub":  `{"operationId":"5.a.b","status":"assigned","registrationState":{"assignedHub":"evil/x","deviceId":"d"}}`,
		"empty":        "",
		"other device": `{"operationId":"5.a.b","status":"assigned","registrationState":{"registrationId":"other","assignedHub":"h.net","deviceId":"d"}}`,
	} {
		for _, op := range []dpstest.Op{dpstest.Register, dpstest.Poll} {
			clientEach(t, dpstest.Config{}, func(w *clientWorld) {
				w.dps.Inject(dpstest.Fault{On: op, Status: 200, Body: []byte(body)})
				failure := w.refused(dps.Registration{})
				if body == "{}" && op == dpstest.Poll {
					assert.ErrorContains(w, failure, "no field status")
				}
				assert.Equal(w, retry.Wait, failure.Verdict(), "%s: %v", name, failure)
				assert.Equal(w, string(op), failure.Op)
				if op == dpstest.Poll {
					assert.NotEmpty(w, failure.OperationID, "the operation is not lost")
				}
			})
		}
	}
}

func TestRegisterDoesNotReadTenMegabytes(t *testing.T) {
	body := append([]byte(`{"operationId":"`), make([]byte, 10<<20)...)
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 200, Body: body})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, retry.Wait, failure.Verdict())
		if w.client.Transport == dps.HTTPS {
			assert.ErrorContains(w, failure, "longer than 131072 bytes")
		}
	})
}

func TestRegisterCutOrUnansweredIsNoAnswer(t *testing.T) {
	for _, op := range []dpstest.Op{dpstest.Register, dpstest.Poll} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{On: op, Cut: true})
			failure := w.refused(dps.Registration{})
			assert.Equal(w, retry.Wait, failure.Verdict(), "%v", failure)
			assert.Zero(w, failure.Status)
			assert.False(w, failure.Answered())
			assert.Equal(w, 1, w.dps.Count(op), "no request is repeated")
			assert.Equal(w, op == dpstest.Poll, failure.OperationID != "")
		})
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{On: op, NoAnswer: true})
			before := time.Now()
			failure := w.refused(dps.Registration{})
			limit := 60 * time.Second
			if w.client.Transport == dps.HTTPS {
				limit = 30 * time.Second
			}
			if op == dpstest.Poll {
				limit += 3 * time.Second
			}
			assert.Equal(w, limit, time.Since(before))
			assert.ErrorContains(w, failure, "no answer within")
			assert.Equal(w, retry.Wait, failure.Verdict())
		})
	}
}

func TestRegisterRequestTimeoutIsSettable(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.client.RequestTimeout = 7 * time.Second
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, NoAnswer: true})
		failure := w.refused(dps.Registration{})
		assert.ErrorContains(w, failure, "no answer within 7s")
		assert.Equal(w, 10*time.Second, w.elapsed())
	})
}

func TestRegisterWithTroubleOnTheWay(t *testing.T) {
	for _, fault := range []simnet.Fault{
		simnet.NameNotFound, simnet.NameFailure, simnet.Refused, simnet.ResetOnAccept,
		simnet.Blackhole,
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetFault(dpstest.GlobalEndpoint, fault)
			failure := w.refused(dps.Registration{})
			assert.Equal(w, retry.Wait, failure.Verdict(), "%v", failure)
			assert.Zero(w, failure.Status)
			assert.LessOrEqual(w, w.elapsed(), 30*time.Second)
			assert.Zero(w, w.dps.Count())
		})
	}
}

func TestRegisterTrustsNoOtherServer(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{
		simnet.Expired, simnet.NotYetValid, simnet.UnknownCA, simnet.WrongName,
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetCertificate(dpstest.GlobalEndpoint, kind)
			failure := w.refused(dps.Registration{})
			_, untrusted := errors.AsType[*tls.CertificateVerificationError](failure)
			assert.True(w, untrusted, "%v", failure)
			assert.Zero(w, w.dps.Count(), "nothing is sent")
			_, err := w.client.Lookup(w.Context())
			_, untrusted = errors.AsType[*tls.CertificateVerificationError](err)
			assert.True(w, untrusted)
		})
	}
}

func TestRegisterEndsWithItsContextAtEveryStage(t *testing.T) {
	errShutdown := errors.New("the program is told to end")
	stages := map[string]func(w *clientWorld){
		"before":    func(*clientWorld) {},
		"dial":      func(w *clientWorld) { w.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole) },
		"handshake": func(w *clientWorld) { w.network.Stall(dpstest.GlobalEndpoint, true) },
		"connack":   func(w *clientWorld) { w.dps.Inject(dpstest.Fault{On: dpstest.Connect, NoAnswer: true}) },
		"register":  func(w *clientWorld) { w.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true}) },
		"pause":     func(w *clientWorld) { w.dps.Inject(dpstest.Fault{On: dpstest.Register, RetryAfter: "3600"}) },
		"poll":      func(w *clientWorld) { w.dps.Inject(dpstest.Fault{On: dpstest.Poll, NoAnswer: true}) },
	}
	for stage, prepare := range stages {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			if stage == "connack" && w.client.Transport == dps.HTTPS {
				return
			}
			prepare(w)
			ctx, cancel := context.WithCancelCause(w.Context())
			defer cancel(nil)
			if stage == "before" {
				cancel(errShutdown)
			}
			timer := time.AfterFunc(5*time.Second, func() { cancel(errShutdown) })
			defer timer.Stop()
			assignment, err := w.client.Register(ctx, dps.Registration{})
			failure := w.failed(assignment, err)
			require.ErrorIs(w, failure, errShutdown, stage)
			if stage == "before" {
				assert.Zero(w, w.elapsed())
				assert.Zero(w, w.network.Dials(dpstest.GlobalEndpoint))
			} else {
				assert.Equal(w, 5*time.Second, w.elapsed(), stage)
			}
			if stage == "pause" || stage == "poll" {
				assert.NotEmpty(w, failure.OperationID, "the registration can be resumed")
			}
			w.network.Stall(dpstest.GlobalEndpoint, false)
		})
	}
}

func TestRegisterSignsAnewWhenTheTokenNearsItsEnd(t *testing.T) {
	config := dpstest.Config{RetryAfter: 50 * time.Minute, AssignTime: 200 * time.Minute}
	clientEach(t, config, func(w *clientWorld) {
		assert.Equal(
			w, clientHub, w.register(dps.Registration{}).Hub,
			"a token lives for an hour, this took %v", w.elapsed(),
		)
		assert.Equal(w, 200*time.Minute, w.elapsed())
	})
}

func TestRegisterNamesItselfToTheService(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.client.APIVersion = "2019-03-31"
		w.client.UserAgent = "thermostat/1.0 (a b&c)"
		w.register(dps.Registration{})
		for _, r := range w.dps.Requests() {
			assert.Equal(w, "2019-03-31", r.APIVersion)
		}
	})
}

func TestARegistrationWithoutAPayloadIsCheckedWithoutEncoding(t *testing.T) {
	// each boot checks it, and few register
	require.Zero(t, testing.AllocsPerRun(10, func() {
		_ = dps.Registration{}.Validate()
	}))
}
