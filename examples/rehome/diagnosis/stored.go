// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// settings tells who the device is. What is wrong with the settings themselves was found before.
func (d *doctor) settings(ctx context.Context) {
	dev := d.Device
	s := Step{Name: StepSettings, Result: OK, Saw: []string{
		fmt.Sprintf("registration id %s, id scope %s", dev.Attestation.RegistrationID(),
			dev.IDScope),
	}}
	began := time.Now()
	pair, err := dev.Attestation.Certificate(ctx)
	s.Took = time.Since(began)
	switch {
	case err != nil:
		s.Result, s.Cause = Failed, "the certificate cannot be used: "+lastText(err)
		s.Fix = "give its file and that of its private key, with -cert and -cert-key"
	case pair == nil:
		s.Saw = append(s.Saw, "credential: a symmetric key")
	case pair.Leaf == nil:
		s.Saw = append(s.Saw, "credential: a certificate")
	default:
		d.ownCertificate(&s, pair.Leaf)
	}
	d.report(s)
}

// ownCertificate tells of the device's own certificate. The clock is the system's yet.
func (d *doctor) ownCertificate(s *Step, leaf *x509.Certificate) {
	s.Saw = append(s.Saw, "credential: certificate "+describe(leaf))
	if now := d.clock.now(); now.After(leaf.NotAfter) {
		s.Result = Failed
		s.Cause = "the device's certificate has expired at " +
			leaf.NotAfter.UTC().Format(time.RFC3339)
		s.Fix = "replace the files of -cert and -cert-key by a newer pair of the same authority"
	}
}

// storedHub is the hub that a start connects to by what is stored, "" if it asks DPS first.
func (d *doctor) storedHub() string {
	if d.storeErr != nil || d.stored.Next != retry.Wait {
		return ""
	}
	if a := d.stored.Candidate; a != nil {
		return a.Hub
	}
	if a := d.stored.Confirmed; a != nil {
		return a.Hub
	}
	return ""
}

// store tells what is stored, and what a start would do with it.
func (d *doctor) store(ctx context.Context) {
	s := Step{Name: StepStore, Result: OK}
	if d.Device.Store == nil {
		s.Result, s.Cause = Skipped, "there is none: every start asks dps"
		s.Fix = "give a directory with -store"
		d.stored.Next = retry.Lookup
		d.report(s)
		return
	}
	began := time.Now()
	d.stored, d.storeErr = d.Device.Remembered(ctx)
	s.Took = time.Since(began)
	if d.storeErr != nil {
		s.Result, s.Cause = Failed, "it cannot be read: "+lastText(d.storeErr)
		s.Fix = "give the directory to this user; the device goes on without, and asks dps"
		d.stored.Next = retry.Lookup
		d.report(s)
		return
	}
	d.clock.remember(d.stored.Saved)
	for _, one := range []struct {
		what string
		a    *dps.Assignment
	}{
		{"assigned and confirmed", d.stored.Confirmed},
		{"assigned, not yet tried", d.stored.Candidate},
	} {
		if one.a != nil {
			s.Saw = append(s.Saw, fmt.Sprintf("%s: hub %s, device id %s", one.what, one.a.Hub,
				one.a.DeviceID))
		}
	}
	if !d.stored.Saved.IsZero() {
		s.Saw = append(s.Saw, "stored at "+d.stored.Saved.UTC().Format(time.RFC3339))
	}
	if len(s.Saw) == 0 {
		s.Saw = []string{"nothing usable is stored"}
	}
	if d.Running != nil {
		s.Saw = append(s.Saw, "a program runs as this device: "+d.Running.String())
	}
	if d.stored.Problem != "" {
		s.Result, s.Cause = Warning, "what is stored is not used: "+d.stored.Problem
		s.Fix = "nothing to do: the device asks dps, and stores the answer anew"
	}
	d.report(s)
}
