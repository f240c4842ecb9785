// SPDX-License-Identifier: Apache-2.0

package oteldevice_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure/measuretest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// running is a device that is connected, and has told of nothing yet but how it came to be so.
func running(t *testing.T) (*sdk, *measuretest.Life) {
	t.Helper()
	s := newSDK()
	l := measuretest.Start(t, s.Trace)
	require.NoError(t, l.FirstBoot())
	return s, l
}

// since draws what has been told after the first n spans.
func (s *sdk) since(n int) string { return "\n" + drawn(s.spans.Ended()[n:]) }

func TestWhatTheProgramAsksForIsAnEffortOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := running(t)
		before := len(s.spans.Ended())
		_, err := l.Device.Reprovision(t.Context(), "direct method")
		require.NoError(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, `
device connect
  dps register
`, s.since(before), "it has not been moved")

		before = len(s.spans.Ended())
		require.NoError(t, l.DPS.Move(devicetest.DeviceID, devicetest.OtherHubHost))
		_, err = l.Device.Reprovision(t.Context(), "direct method")
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.True(t, l.OtherHub.Connected(devicetest.DeviceID))
		assert.Equal(t, `
device connect
  dps register
  hub connect hub-b.azure-devices.net
`, s.since(before), "a move is one effort")

		before = len(s.spans.Ended())
		l.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 503})
		_, err = l.Device.Reprovision(t.Context(), "")
		require.Error(t, err)
		time.Sleep(time.Second)
		assert.Equal(t, `
device connect
  dps register: server
`, s.since(before), "the connection goes on")
		got, _ := s.collect(t)
		assert.Equal(t, 2.0, got["rehome.dps.requests{rehome.dps.request.kind=register,"+
			"rehome.dps.request.reason=asked by the program,"+
			"server.address=global.azure-devices-provisioning.net}"])
		l.End()
		assert.Len(t, s.spans.Started(), len(s.spans.Ended()), "each span that began has ended")
	})
}

func TestADeviceThatWakesSendsAndSleepsMakesAnEffortEachTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSDK(), devicetest.Start(t)
		d.Device.Trace = s.Trace(nil)
		for range 2 {
			require.NoError(t, d.Device.Send(t.Context(), hubconn.Message{Body: []byte("21.5")}))
			time.Sleep(time.Hour)
		}
		assert.Equal(t, `
device connect
  dps register
  hub send hub-a.azure-devices.net
device connect
  hub send hub-a.azure-devices.net
`, s.since(0))
		got, _ := s.collect(t)
		assert.Equal(t, 2.0, got["rehome.hub.attempts{rehome.hub.operation=send,"+
			"server.address=hub-a.azure-devices.net}"])
	})
}

func TestAnAttemptThatIsGivenUpIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := newSDK(), devicetest.Start(t)
		d.DPS.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true})
		d.Device.Trace = s.Trace(nil)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		require.Error(t, d.Device.Run(ctx, func(context.Context, *hubconn.Conn) error {
			return nil
		}))
		assert.Equal(t, "\ndevice connect\n  dps register: given_up\n", s.since(0))
		for _, span := range s.spans.Ended() {
			assert.Equal(t, "Unset", span.Status().Code.String(), span.Name())
		}
	})
}

func TestErrorsInSpansAreOneLineWithAnEnd(t *testing.T) {
	s := newSDK()
	trace := s.Trace(nil)
	long := errors.New(strings.Repeat("line\n", 1000))
	trace.Attempt(provisioning.HubAttempt{
		RegistrationID: "d", Began: time.Now(), State: provisioning.StateConnecting, Err: long,
	})
	trace.Changed(provisioning.Status{
		RegistrationID: "d", State: provisioning.StateWaiting, Err: long,
	})
	require.Len(t, s.spans.Ended(), 2)
	for _, span := range s.spans.Ended() {
		assert.NotContains(t, span.Status().Description, "\n")
		assert.LessOrEqual(t, len([]rune(span.Status().Description)), 500)
		assert.NotEmpty(t, span.Status().Description)
		for _, e := range span.Events() {
			for _, kv := range e.Attributes {
				assert.NotContains(t, kv.Value.String(), "\n")
				assert.LessOrEqual(t, len([]rune(kv.Value.String())), 500)
			}
		}
	}
}

func TestNoKeyAndNoTokenIsInASpanOrAMetric(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := running(t)
		key := l.Credential(devicetest.DeviceID).Key
		require.NoError(t, l.HubAway())
		require.NoError(t, l.Move())
		l.End()
		var told strings.Builder
		for _, span := range s.spans.Ended() {
			fmt.Fprintln(&told, span.Name(), span.Attributes(), span.Events(), span.Status())
		}
		series, _ := s.collect(t)
		fmt.Fprintln(&told, series)
		assert.Greater(t, told.Len(), 1000)
		assert.NotContains(t, told.String(), key)
		assert.NotContains(t, told.String(), "SharedAccessSignature")
		assert.NotContains(t, told.String(), "sig=")
	})
}

func TestManyDevicesShareOneTelemetryWhileItIsCollected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const devices = 20
		s, d := newSDK(), devicetest.Start(t)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		for i := range devices {
			dev := d.Enroll(fmt.Sprintf("sensor-%02d", i))
			dev.Trace = s.Trace(nil)
			running.Go(func() {
				_ = dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
					_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
					<-ctx.Done()
					return nil
				})
			})
		}
		for range 10 {
			time.Sleep(200 * time.Millisecond)
			s.collect(t)
		}
		time.Sleep(time.Minute)
		got, _ := s.collect(t)
		assert.EqualValues(t, devices, got["rehome.device.count{rehome.device.state=connected}"])
		stop()
		running.Wait()
		time.Sleep(time.Minute)
		got, _ = s.collect(t)
		assert.EqualValues(t, devices, got["rehome.hub.messages.acknowledged{}"])
		assert.EqualValues(t, devices, got["rehome.hub.disconnections{}"])
		require.NoError(t, s.Close())
		require.NoError(t, s.Close(), "a second time")
		got, _ = s.collect(t)
		assert.NotContains(t, got, "rehome.hub.disconnections{}", "it is collected no more")
	})
}
