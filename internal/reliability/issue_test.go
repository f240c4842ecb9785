// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// byPolicy has the hub issue certificates to the device.
func byPolicy(w *world, _ *dpstest.IndividualEnrollment) {
	policy := hubtest.CertificatePolicy{Namespace: "fleet", Authority: "ica1", Name: "month"}
	if err := w.service.Issuer().SetPolicy(policy); err != nil {
		w.Fatal(err)
	}
	w.policy = policy.ID()
	var err error
	if w.csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: deviceID},
	}, key(w.T, 0)); err != nil {
		w.Fatal(err)
	}
}

// askForCertificate goes on with the device's own request, if the hub still works on that.
func askForCertificate(ctx context.Context, w *world, conn *hubconn.Conn) error {
	_, err := conn.IssueCertificate(ctx, hubconn.CertificateRequest{ID: deviceID, CSR: w.csr})
	return err
}
