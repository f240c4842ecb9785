// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"context"

	"github.com/google/go-tpm/tpm2/transport"
)

// Use gives commands to a TPM.
func Use(ctx context.Context, t *TPM, use func(transport.TPM)) error {
	_, err := run(ctx, t, "use", func(x *exchange) (struct{}, error) {
		use(x)
		return struct{}{}, nil
	})
	return err
}
