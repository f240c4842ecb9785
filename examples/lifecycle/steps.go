// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	certificate      = provisioning.CredentialIssued
	fromStore        = provisioning.SourceStore
	fromRegistration = provisioning.SourceRegistration

	// between two renewals, so that their certificates differ: they are dated by the second
	apart = 1100 * time.Millisecond

	// two waits for a hub, after the first failure in a row and after the second: the random part
	// doubles
	longest = 2*stage.BackOff + 3*stage.BackOff
)

func (w *world) steps() []stage.Step {
	registers := stage.Counts{Register: 1, Poll: 1}
	return []stage.Step{
		{
			Title: "A blank board",
			Tells: "It has an ID scope and the key it was made with. DPS issues it a " +
				"certificate; the operator, who has not measured it yet, sends it to hub-guest, " +
				"which is quarantine.",
			Expect: stage.Expected{
				Requests: registers, Attempts: 1, Hub: quarantine, Source: fromRegistration,
				Credential: certificate, Least: stage.Patience,
				Most: stage.Patience + stage.Machine,
			},
			Run: w.blankBoard,
		},
		{
			Title: "Attested and moved home",
			Tells: "It boots with the certificate it has stored, and says what it runs. The " +
				"operator clears it and has it reprovision: its twin moves along.",
			Expect: stage.Expected{
				Requests: registers, Attempts: 2, Hub: home, Source: fromRegistration,
				Credential: certificate, Least: stage.Patience,
				Most: stage.Patience + stage.Machine,
			},
			Run: w.movedHome,
		},
		{
			Title: "Renewed twice by hand",
			Tells: "The hub issues the certificates and takes them; the session goes on, and DPS " +
				"is not even connected to.",
			Expect: stage.Expected{
				Attempts: 3, Renewals: 2, Hub: home, Source: fromStore, Credential: certificate,
				Most: stage.Machine,
			},
			Run: w.renewedTwice,
		},
		{
			Title: "Revoked, it registers anew",
			Tells: "The operator revokes its certificates. The hub refuses the one it has, and " +
				"the key it was made with: DPS takes that, and issues another. The hub may lag " +
				"behind, so the device gives it time.",
			Expect: stage.Expected{
				Requests: stage.Counts{Register: 1, Poll: 1, Clock: 1}, Attempts: 4, Hub: home,
				Source: fromRegistration, Credential: certificate,
				Least: 2*stage.BackOff + stage.Patience,
				Most:  longest + stage.Patience + stage.Machine,
			},
			Run: w.revoked,
		},
		{
			Title: "Sold to a new customer",
			Tells: "The enrollment names the new customer and resets the device's data. Whoever " +
				"bought it presses the reset button: the board is blank again, and registers.",
			Expect: stage.Expected{
				Requests: registers, Attempts: 2, Hub: sold, Source: fromRegistration,
				Credential: certificate, Least: stage.Patience,
				Most: stage.Patience + stage.Machine,
			},
			Run: w.soldOn,
		},
		{
			Title: "Warm boot",
			Tells: "From then on every start goes straight to the new customer's hub.",
			Expect: stage.Expected{
				Attempts: 1, Hub: sold, Source: fromStore, Credential: certificate,
				Most: stage.Machine,
			},
			Run: w.warmBoot,
		},
	}
}

// arrive starts the device, and waits until it is at a hub.
func arrive(ctx context.Context, s *stage.Scene) (*stage.Boot, stage.Arrival, error) {
	b := s.PowerOn(ctx)
	a, err := b.Arrival(ctx)
	return b, a, err
}

func (w *world) blankBoard(ctx context.Context, s *stage.Scene) error {
	b, a, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Reached(a)
	w.holdsCertificate(ctx, s, b, w.quarantine)
	return nil
}

// holdsCertificate checks that the hub has no other way to know the device than its certificate,
// and that the device, the hub's twin and the store agree on that.
func (w *world) holdsCertificate(
	ctx context.Context, s *stage.Scene, b *stage.Boot, at *hubtest.Hub,
) {
	known, ok := at.Get(registrationID)
	s.Expect(
		ok && known.PrimaryKey == "" && known.PrimaryThumbprint == "",
		"%s knows the device by more than its certificate", stage.Short(at.Host()),
	)
	// The device goes on while this looks: it is written to the store, and reported.
	var c provisioning.CertificateStatus
	var twin hubtest.Twin
	settled(func() bool {
		c = b.Dev.Status().Certificate
		twin, _ = at.Twin(registrationID)
		return c.Accepted && validUntil(twin) == c.ValidUntil.UTC().Format(time.RFC3339)
	})
	s.Check(c.Err)
	s.Expect(
		c.Accepted && time.Until(c.ValidUntil) > 0, "the hub has not accepted a certificate: %+v",
		c,
	)
	s.Expect(
		validUntil(twin) == c.ValidUntil.UTC().Format(time.RFC3339),
		"the twin says that its certificate is valid until %s, not %s", validUntil(twin),
		c.ValidUntil,
	)
	stored, err := w.Device().Remembered(ctx)
	s.Check(err)
	s.Expect(
		stored.Certificate.Accepted && stored.Certificate.ValidUntil.Equal(c.ValidUntil),
		"the store holds another certificate: %+v", stored.Certificate,
	)
	life := c.ValidUntil.Sub(c.ValidFrom)
	part := float64(c.NextRenewal.Sub(c.ValidFrom)) / float64(life)
	s.Expect(
		part >= 0.6 && part <= 0.8,
		"the next renewal is at %.0f %% of the certificate's life, not at 60 to 80 %%", 100*part,
	)
	s.Tell.Line(
		"device", "will renew its certificate at %s, %.0f %% of its life",
		c.NextRenewal.UTC().Format(time.DateTime), 100*part,
	)
}

// settled waits until something is so, though not for long.
func settled(ok func() bool) {
	for begun := time.Now(); !ok() && time.Since(begun) < 10*stage.Machine; {
		time.Sleep(10 * time.Millisecond)
	}
}

// validUntil is what a twin reports of the device's certificate.
func validUntil(twin hubtest.Twin) string {
	reported, _ := twin.Reported["certificate"].(map[string]any)
	until, _ := reported["validUntil"].(string)
	return until
}

// setting is what the first customer sets: it moves with the device, and not to the next customer.
const setting = "nightMode"

func (w *world) configure(s *stage.Scene, at *hubtest.Hub) error {
	s.Tell.Line("customer", "sets the desired property %s at %s", setting, stage.Short(at.Host()))
	_, err := at.PatchDesired(registrationID, map[string]any{setting: true})
	return err
}

func (w *world) movedHome(ctx context.Context, s *stage.Scene) error {
	b, a, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Expect(
		a.Hub == quarantine && a.Credential == certificate && a.Source == fromStore,
		"it has not booted with its certificate from the store: %+v", a,
	)
	s.Tell.Line("operator", "asks the device for the digest of its firmware")
	if err := w.operator.measure(ctx, w.quarantine); err != nil {
		return err
	}
	if err := w.configure(s, w.quarantine); err != nil {
		return err
	}
	s.Trigger()
	s.Tell.Line("operator", "clears the device, and calls its method %s", methodReprovision)
	if status, _, err := w.quarantine.Invoke(
		ctx, registrationID, methodReprovision, nil, listening,
	); err != nil || status != 202 {
		return fmt.Errorf("the method %s returned %d: %w", methodReprovision, status, err)
	}
	// DPS takes the old identity away, and the device moves: what ends the session is whichever
	// it hears of first.
	end, err := b.Ending(ctx)
	if err != nil {
		return err
	}
	s.Tell.Line("program", "its session on hub-guest has ended: %v", end.Cause)
	if a, err = b.Arrival(ctx); err != nil {
		return err
	}
	s.Reached(a)
	w.holdsCertificate(ctx, s, b, w.home)
	_, still := w.quarantine.Get(registrationID)
	s.Expect(!still, "hub-guest knows the device yet")
	twin, _ := w.home.Twin(registrationID)
	s.Expect(
		twin.Desired[setting] == true && twin.Tags["customer"] == "first customer",
		"its twin has not moved along: %+v", twin,
	)
	return nil
}

func (w *world) renewedTwice(ctx context.Context, s *stage.Scene) error {
	b, a, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Reached(a)
	for n := range 2 {
		if err := pause(ctx, apart); err != nil {
			return err
		}
		was := b.Dev.Status().Certificate.ValidUntil
		s.Tell.Line("program", "calls Renew")
		if err := b.Dev.Renew(ctx); err != nil {
			return err
		}
		c := b.Dev.Status().Certificate
		s.Expect(
			c.ValidUntil.After(was) && c.Accepted,
			"renewal %d has brought no certificate that the hub has accepted: %+v", n+1, c,
		)
		s.Tell.Line(
			"hub-home", "has issued a certificate that is valid until %s, and taken it",
			c.ValidUntil.UTC().Format(time.DateTime),
		)
	}
	s.Expect(!b.Ended(), "the session has ended")
	w.holdsCertificate(ctx, s, b, w.home)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *world) revoked(ctx context.Context, s *stage.Scene) error {
	b, _, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	was := b.Dev.Status().Certificate.ValidFrom
	s.Trigger()
	s.Tell.Line("operator", "revokes the device's certificates")
	s.Expect(w.home.RevokeCredentials(registrationID), "hub-home does not know the device")
	if _, err := b.Ending(ctx); err != nil {
		return err
	}
	a, err := b.Arrival(ctx)
	if err != nil {
		return err
	}
	s.Reached(a)
	w.holdsCertificate(ctx, s, b, w.home)
	s.Expect(
		b.Dev.Status().Certificate.ValidFrom.After(was), "its certificate is the one before",
	)
	refused := 0
	for _, attempt := range w.home.Attempts() {
		if attempt.ReturnCode == 5 {
			refused++
			s.Tell.Line("hub-home", "refused it: %s", attempt.Reason)
		}
	}
	s.Expect(refused == 2, "hub-home has refused it %d times, not its certificate and its key",
		refused)
	return nil
}

func (w *world) soldOn(ctx context.Context, s *stage.Scene) error {
	b, _, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Tell.Line("operator", "writes the new customer into the enrollment")
	w.operator.sell(sold)
	if err := w.enroll("new customer", dpstest.ReprovisionPolicy{
		UpdateHubAssignment: true,
	}); err != nil {
		return err
	}
	s.Tell.Line("program", "calls Forget, as somebody has pressed the reset button, and ends")
	if err := b.Dev.Forget(ctx); err != nil {
		return err
	}
	if err := b.PowerOff(); err != nil {
		return err
	}
	for _, key := range []string{registrationID, registrationID + "~issued"} {
		if _, err := w.Store.Get(ctx, key); !errors.Is(err, cache.ErrMiss) {
			return fmt.Errorf("the store was not emptied of %q: %v", key, err)
		}
	}

	b, a, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Reached(a)
	w.holdsCertificate(ctx, s, b, w.sold)
	_, still := w.home.Get(registrationID)
	s.Expect(!still, "hub-home knows the device yet")
	record, _ := w.DPS.Registration(registrationID)
	s.Expect(
		record.Substatus == dpstest.DeviceDataReset,
		"DPS says %q, not that its data was reset", record.Substatus,
	)
	twin, _ := w.sold.Twin(registrationID)
	s.Expect(
		twin.Tags["customer"] == "new customer" && twin.Desired[setting] == nil,
		"its twin is not a new one: %+v", twin,
	)
	return nil
}

func (w *world) warmBoot(ctx context.Context, s *stage.Scene) error {
	b, a, err := arrive(ctx, s)
	if err != nil {
		return err
	}
	s.Reached(a)
	w.holdsCertificate(ctx, s, b, w.sold)
	return nil
}
