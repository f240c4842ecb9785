// Package weakcert makes the certificates of a server whose RSA keys are short, for tests of what a
// device refuses. The authorities of the simulators have ECDSA keys alone.
package weakcert
