// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// filesCheck is how often the files of a certificate are looked at, and their problems told.
const filesCheck = 10 * time.Second

// WarnAboutFiles tells, once for each problem, that the files of the certificate have changed to
// something that cannot be used. The pair before stays in force.
func WarnAboutFiles(ctx context.Context, attestation dps.Attestation, log *slog.Logger) {
	files, ok := attestation.(*dps.X509Files)
	if !ok {
		return
	}
	told := ""
	for {
		select {
		case <-time.After(filesCheck):
		case <-ctx.Done():
			return
		}
		err := files.Problem()
		switch {
		case err == nil:
			told = ""
		case err.Error() != told:
			told = err.Error()
			log.Warn("certificate files not used", "cause", told)
		}
	}
}
