// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// An MQTT client of the program's own, here Paho's, is led by the rules as a connection of Run is.

// ownClient is such a client and the device it works for.
type ownClient struct {
	*rig
	dev  *provisioning.Device
	ctx  context.Context
	mqtt paho.Client
	lost chan error
}

func (r *rig) own(dev *provisioning.Device) *ownClient {
	return &ownClient{rig: r, dev: dev, ctx: context.Background()}
}

// connect makes one attempt at a hub.
func (c *ownClient) connect(a dps.Assignment) error {
	hub, began := a.Target(), time.Now()
	token, err := c.dev.Token(c.ctx, a, 0)
	if err != nil {
		return err
	}
	certificate, err := c.att.Certificate(c.ctx)
	if err != nil {
		return err
	}
	trust := c.network.TLSConfig()
	trust.Time, trust.ServerName = c.dev.Now, hub.Host
	if certificate != nil {
		trust.Certificates = []tls.Certificate{*certificate}
	}
	lost := make(chan error, 1)
	o := paho.NewClientOptions().AddBroker("tls://" + hub.Host + ":8883").
		SetClientID(hub.ClientID()).SetUsername(c.dev.Hub.Username(hub)).SetPassword(token).
		SetTLSConfig(trust).SetProtocolVersion(4).SetAutoReconnect(false).
		SetConnectionLostHandler(func(_ paho.Client, err error) { lost <- err })
	var dialled error
	o.SetCustomOpenConnectionFn(func(_ *url.URL, o paho.ClientOptions) (net.Conn, error) {
		conn, err := c.network.DialContext(c.ctx, "tcp", hub.Host+":8883")
		if err == nil {
			secured := tls.Client(conn, trust)
			if err = secured.Handshake(); err == nil {
				return secured, nil
			}
			_ = conn.Close()
		}
		dialled = err
		return nil, err
	})
	client := paho.NewClient(o)
	token5 := client.Connect().(*paho.ConnectToken)
	token5.Wait()
	switch code := token5.ReturnCode(); {
	case token5.Error() == nil:
		c.mqtt, c.lost = client, lost
		return nil
	case dialled != nil:
		return dialled
	case code > 0 && code <= 5:
		took := time.Since(began)
		return &hubconn.Error{
			Op: "connect", Hub: hub, ReturnCode: code, Elapsed: took,
			Class: hubconn.ClassOfReturnCode(code, took),
		}
	}
	return token5.Error()
}

// send publishes telemetry at QoS 1.
func (c *ownClient) send(a dps.Assignment) error {
	t := c.mqtt.Publish("devices/"+a.DeviceID+"/messages/events/", 1, false, reading.Body)
	t.Wait()
	return t.Error()
}

// once goes through the loop until a hub has accepted the client and a message.
func (c *ownClient) once() (dps.Assignment, error) {
	for {
		a, err := c.dev.NextAttempt(c.ctx)
		if err != nil {
			return a, err
		}
		if err = c.connect(a); err == nil {
			if err = c.send(a); err == nil {
				return a, c.dev.Confirm(c.ctx, a)
			}
		}
		if _, err := c.dev.Rejected(c.ctx, a, err); err != nil {
			return a, err
		}
	}
}

// at checks where the client gets to.
func (c *ownClient) at(hub string) dps.Assignment {
	c.t.Helper()
	a, err := c.once()
	require.NoError(c.t, err)
	require.Equal(c.t, hub, a.Hub)
	require.Equal(c.t, provisioning.StateConnected, c.dev.Status().State)
	return a
}

// leave closes the connection in good order.
func (c *ownClient) leave(a dps.Assignment) {
	c.t.Helper()
	c.mqtt.Disconnect(0)
	require.NoError(c.t, c.dev.Closed(c.ctx, a))
	require.Equal(c.t, provisioning.StateStopped, c.dev.Status().State)
}

func (r *rig) remembered() provisioning.Remembered {
	r.t.Helper()
	got, err := r.device().Remembered(context.Background())
	require.NoError(r.t, err)
	return got
}

var ownWirings = []wiring{{}, {dps: dps.MQTT}, {x509: true}}

func TestAClientOfOnesOwnRegistersOnceAndStartsWithoutDPS(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		a := c.at(hubA)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Equal(t, hubA, r.remembered().Confirmed.Hub)
		require.Equal(t, 1, c.dev.Status().Connections)
		c.leave(a)
		for range 3 {
			c = r.own(r.device())
			c.leave(c.at(hubA))
		}
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup, dpstest.Clock))
		require.Less(t, r.elapsed(), time.Minute)
		for _, seen := range r.a.Attempts() {
			require.Equal(t, "rehome-go", seen.ClientType)
		}
	})
}

func TestAClientOfOnesOwnFollowsAMove(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		a := c.at(hubA)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		_, err := c.dev.Rejected(c.ctx, a, <-c.lost)
		require.NoError(t, err)
		a = c.at(hubB)
		require.Equal(t, hubB, r.remembered().Confirmed.Hub)
		require.Equal(t, 2, r.asked(dpstest.Register))
		c.leave(a)
		c = r.own(r.device())
		c.leave(c.at(hubB))
		require.Equal(t, 2, r.asked(dpstest.Register))
		require.Less(t, r.elapsed(), 2*time.Minute)
	})
}

// The candidate is kept beside the assignment before it until it has worked, over any number of
// processes.
func TestAClientOfOnesOwnKeepsTheOldHubUntilTheNewOneWorks(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		require.NoError(t, r.dps.Move(rigID, hubB))
		a, err := c.dev.Reprovision(c.ctx, "test")
		require.NoError(t, err)
		require.Equal(t, hubB, a.Hub)
		r.network.SetFault(hubB, simnet.Refused)
		c.dev = r.device()
		var seen []string
		for range 4 {
			next, err := c.dev.NextAttempt(c.ctx)
			require.NoError(t, err)
			seen = append(seen, next.Hub)
			_, err = c.dev.Rejected(c.ctx, next, errors.New("connection refused"))
			require.NoError(t, err)
		}
		require.Contains(t, seen, hubA)
		require.Contains(t, seen, hubB)
		require.Equal(t, hubA, r.remembered().Confirmed.Hub)
		require.Equal(t, hubB, r.remembered().Candidate.Hub)
		r.network.SetFault(hubB, simnet.None)
		for r.remembered().Candidate != nil {
			a, err := c.once()
			require.NoError(t, err)
			c.leave(a)
			require.Less(t, r.elapsed(), time.Hour)
			time.Sleep(time.Minute)
		}
		require.Equal(t, hubB, r.remembered().Confirmed.Hub)
	})
}

func TestARejectedClientOfOnesOwnAsksAtTheGapsOverAllRestarts(t *testing.T) {
	for name, restarts := range map[string]bool{"one process": false, "a process each time": true} {
		t.Run(name, func(t *testing.T) {
			each(t, ownWirings, func(t *testing.T, r *rig) {
				c := r.own(r.device())
				c.leave(c.at(hubA))
				require.True(t, r.a.Disable(rigID))
				r.reset()
				for r.elapsed() < 24*time.Hour {
					if restarts {
						c.dev = r.device()
					}
					a, err := c.dev.NextAttempt(c.ctx)
					require.NoError(t, err)
					failure := c.connect(a)
					require.Equal(t, hubconn.Rejected, hubconn.ClassOf(failure), "%v", failure)
					next, err := c.dev.Rejected(c.ctx, a, failure)
					require.NoError(t, err)
					require.False(t, next.IsZero())
				}
				asked := r.asked(dpstest.Register)
				require.GreaterOrEqual(t, asked, 20)
				require.LessOrEqual(t, asked, 36, "as Run does")
				require.LessOrEqual(t, len(r.a.Attempts()), 80)
			})
		})
	}
}

func TestAClientOfOnesOwnWithAWrongClockAsksForTheTimeAndRegistersNothing(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		r.reset()
		for range 3 {
			dev := r.device()
			stoppedClock(dev, r.start.Add(-100*24*time.Hour))
			c = r.own(dev)
			a := c.at(hubA)
			require.WithinDuration(t, time.Now(), dev.Now(), 2*time.Minute)
			c.leave(a)
			time.Sleep(3 * time.Hour)
		}
		require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
		require.Equal(t, 2, r.asked(dpstest.Clock), "at first the time remembered will do")
	})
}

func TestAClientOfOnesOwnHonoursWhatTheHubAsksForAndEndsAtItsDeadline(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		r.reset()
		a, err := c.dev.NextAttempt(c.ctx)
		require.NoError(t, err)
		next, err := c.dev.Rejected(c.ctx, a, &hubconn.Error{
			Op: "connect", Hub: a.Target(), Class: hubconn.Throttled, Wait: time.Hour,
		})
		require.NoError(t, err)
		between(t, time.Hour, time.Hour+6*time.Second, time.Until(next))
		soon := r.tooSoon(func(ctx context.Context) error {
			_, err := c.dev.NextAttempt(ctx)
			return err
		})
		require.Equal(t, hubconn.Throttled, hubconn.ClassOf(soon))
		c.dev = r.device() // the next process
		soon = r.tooSoon(func(ctx context.Context) error {
			_, err := c.dev.NextAttempt(ctx)
			return err
		})
		between(t, time.Hour-time.Second, time.Hour+6*time.Second, soon.Wait)
		c.at(hubA)
		between(t, time.Hour, time.Hour+time.Minute, r.elapsed())
		require.Zero(t, r.asked())
	})
}

func TestAClientOfOnesOwnBacksOffAndIsMovedOffADeadHub(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		r.network.SetFault(hubA, simnet.Refused)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.reset()
		dialled := r.network.Dials(hubA)
		c.at(hubB)
		between(t, 15*time.Minute, 31*time.Minute, r.elapsed())
		require.Less(t, r.network.Dials(hubA)-dialled, 32)
		require.Equal(t, 1, r.asked(dpstest.Lookup, dpstest.Register))
	})
}

// A connection that is dropped each time is none that worked, and one that has lasted is.
func TestWhatAClientOfOnesOwnForgetsAfterAStableConnection(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		for range 4 {
			a := c.at(hubA)
			_, err := c.dev.Rejected(c.ctx, a, errors.New("dropped"))
			require.NoError(t, err)
		}
		require.Equal(t, 4, c.dev.Status().HubAttempts)
		a := c.at(hubA)
		require.NoError(t, c.dev.Confirm(c.ctx, a), "again, with the next acknowledgement")
		require.Equal(t, 4, c.dev.Status().HubAttempts)
		time.Sleep(30 * time.Second)
		require.NoError(t, c.dev.Confirm(c.ctx, a))
		require.Zero(t, c.dev.Status().HubAttempts)
		require.Equal(t, provisioning.StateConnected, c.dev.Status().State)
		_, err := c.dev.Rejected(c.ctx, a, errors.New("dropped"))
		require.NoError(t, err)
		require.Equal(t, 1, c.dev.Status().HubAttempts)

		a = c.at(hubA)
		time.Sleep(31 * time.Second)
		_, err = c.dev.Rejected(c.ctx, a, errors.New("dropped"))
		require.NoError(t, err)
		require.Equal(t, 1, c.dev.Status().HubAttempts, "it had lasted")

		c.leave(c.at(hubA))
		require.Zero(t, c.dev.Status().HubAttempts, "closed by the program after it had worked")
	})
}

// Whatever a program reports, and however often, DPS is asked no more than once in a while.
func TestNoReportOfAClientMakesTheDeviceHammerDPS(t *testing.T) {
	for name, report := range map[string]func(c *ownClient, a dps.Assignment){
		"nothing": func(c *ownClient, a dps.Assignment) {},
		"rejected": func(c *ownClient, a dps.Assignment) {
			_, _ = c.dev.Rejected(c.ctx, a, &hubconn.Error{Class: hubconn.Rejected})
		},
		"worked, then rejected": func(c *ownClient, a dps.Assignment) {
			_ = c.dev.Confirm(c.ctx, a)
			_, _ = c.dev.Rejected(c.ctx, a, &hubconn.Error{Class: hubconn.Rejected})
		},
		"worked and closed, then rejected": func(c *ownClient, a dps.Assignment) {
			_ = c.dev.Confirm(c.ctx, a)
			_ = c.dev.Closed(c.ctx, a)
			_, _ = c.dev.Rejected(c.ctx, a, &hubconn.Error{Class: hubconn.Rejected})
		},
		"another hub": func(c *ownClient, a dps.Assignment) {
			a.Hub = hubC
			_, _ = c.dev.Rejected(c.ctx, a, &hubconn.Error{Class: hubconn.Rejected})
			_ = c.dev.Closed(c.ctx, a)
		},
		"rejected, and gives up each call": func(c *ownClient, a dps.Assignment) {
			_, _ = c.dev.Rejected(c.ctx, a, &hubconn.Error{Class: hubconn.Rejected})
			ctx, cancel := context.WithTimeout(c.ctx, time.Millisecond)
			defer cancel()
			_, _ = c.dev.NextAttempt(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {x509: true}}, func(t *testing.T, r *rig) {
				c := r.own(r.device())
				c.leave(c.at(hubA))
				r.reset()
				calls := 0
				for ; r.elapsed() < time.Hour && calls < 2000; calls++ {
					ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
					a, err := c.dev.NextAttempt(ctx)
					cancel()
					if err != nil {
						time.Sleep(10 * time.Second)
						a, err = c.dev.Assignment(c.ctx)
						require.NoError(t, err)
					}
					report(c, a)
				}
				most := 3 + int(r.elapsed()/time.Minute)
				require.LessOrEqual(t, r.asked(dpstest.Register), most, "%d calls", calls)
				require.LessOrEqual(t, r.asked(dpstest.Clock), most, "%d calls", calls)
				require.LessOrEqual(t, r.asked(dpstest.Lookup), 2)
			})
		})
	}
}

func TestAClientOfOnesOwnGivesUpWhereTheProgramSaysSo(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		require.True(t, r.a.Disable(rigID))
		r.reset()
		c.dev = r.device()
		c.dev.Retry.MaxAttempts = 3
		_, err := c.once()
		require.Equal(t, hubconn.Rejected, hubconn.ClassOf(err), "%v", err)
		require.LessOrEqual(t, len(r.a.Attempts()), 4)
		require.GreaterOrEqual(t, len(r.a.Attempts()), 3)

		c.dev = r.device()
		c.dev.AfterRejection = provisioning.StopWhenRejected
		_, err = c.once()
		require.Equal(t, retry.Register, retry.Classify(err), "%v", err)
		require.LessOrEqual(t, r.asked(dpstest.Register), 2)
	})
}

func TestAClientOfOnesOwnWithOneAttemptIsMoved(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		c.leave(c.at(hubA))
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		c.dev = r.device()
		c.dev.Retry.MaxAttempts = 1
		c.leave(c.at(hubB))
	})
}

// The hub drops the connection while DPS is still about to say where the device belongs.
func TestAReportDoesNotInterruptAReprovisioning(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		a := c.at(hubA)
		require.NoError(t, r.dps.Move(rigID, hubB))
		r.reset()
		done := make(chan error)
		go func() {
			_, err := c.dev.Reprovision(c.ctx, "test")
			done <- err
		}()
		time.Sleep(time.Second)
		_, err := c.dev.Rejected(c.ctx, a, errors.New("dropped"))
		require.NoError(t, err)
		require.NoError(t, <-done)
		require.Equal(t, 1, r.asked(dpstest.Register))
		c.at(hubB)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

// severalErrors are those of a library that has a list of them.
type severalErrors []error

func (severalErrors) Error() string     { return "one\nline, or another" }
func (s severalErrors) Unwrap() []error { return s }

func TestReportsOfAClientOfOnesOwnThatComeTooLate(t *testing.T) {
	each(t, ownWirings, func(t *testing.T, r *rig) {
		c := r.own(r.device())
		old := c.at(hubA)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		_, err := c.dev.Reprovision(c.ctx, "test")
		require.NoError(t, err)
		require.ErrorIs(t, c.dev.Confirm(c.ctx, old), provisioning.ErrReprovisioned)
		require.NoError(t, c.dev.Closed(c.ctx, old))
		current := c.at(hubB)
		require.ErrorIs(t, c.dev.Confirm(c.ctx, old), provisioning.ErrReprovisioned)
		require.NoError(t, c.dev.Confirm(c.ctx, current))
		_, err = c.dev.Rejected(c.ctx, old, errors.New("late"))
		require.NoError(t, err)
		require.Zero(t, c.dev.Status().HubAttempts)
		require.NoError(t, c.dev.Closed(c.ctx, old))
		require.Equal(t, provisioning.StateConnected, c.dev.Status().State, "it is at the new hub")
		_, err = c.dev.Rejected(c.ctx, old, nil)
		require.ErrorContains(t, err, "failure is nil")

		two := severalErrors{errors.New("one\nline"), context.Canceled}
		_, err = c.dev.Rejected(c.ctx, c.at(hubB), two)
		require.NoError(t, err)
		_, err = c.dev.Rejected(c.ctx, c.at(hubB), two)
		require.NoError(t, err, "it cannot be compared, and need not")
		require.ErrorIs(t, c.dev.Status().Err, context.Canceled)
		require.Equal(t, "one line, or another", c.dev.Status().Err.Error())
		a := c.at(hubB)
		time.Sleep(time.Minute)
		require.NoError(t, c.dev.Confirm(c.ctx, a))

		ended, cancel := context.WithCancel(c.ctx)
		cancel()
		_, err = c.dev.Rejected(ended, a, errors.New("dropped at the end of the program"))
		require.NoError(t, err)
		require.Equal(t, 1, c.dev.Status().HubAttempts, "it has happened all the same")
		_, err = c.dev.NextAttempt(ended)
		require.ErrorIs(t, err, context.Canceled)

		stop := r.run(c.dev)
		r.await(0, time.Minute)
		_, err = c.dev.NextAttempt(c.ctx)
		require.ErrorIs(t, err, provisioning.ErrRunning)
		stop()
	})
}
