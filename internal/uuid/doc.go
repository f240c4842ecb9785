// SPDX-License-Identifier: Apache-2.0

// Package uuid makes random UUIDs, which name requests and identities in this protocol.
package uuid
