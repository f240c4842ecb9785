// SPDX-License-Identifier: Apache-2.0

package oneline

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Cause is why an error came about, in words that are the same whenever and wherever it is the
// same: logs of many devices are grouped by it. Addresses, ports, times, host names and identifiers
// are not in it; the error's own text has them.
func Cause(err error) string {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case name.IsNotFound:
			return "no such host"
		case name.IsTimeout:
			return "the name lookup timed out"
		}
		return "the name lookup failed"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok &&
		invalid.Reason == x509.Expired {
		return "the certificate has expired or is not yet valid"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the certificate is for another name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is signed by an unknown authority"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		if op.Timeout() {
			return op.Op + ": timeout"
		}
		if errno, ok := errors.AsType[syscall.Errno](op.Err); ok {
			return op.Op + ": " + errno.Error()
		}
		return op.Op + ": " + Group(op.Err.Error())
	}
	if u, ok := errors.AsType[*url.Error](err); ok { // its text has the address
		return Cause(u.Err)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return "timeout"
	}
	return Group(err.Error())
}

// Group is text without what differs from one time to the next: a number sign stands for each word
// that has a digit in it, is quoted, or is a path, a URL or a name with a dot in it, as hosts have.
func Group(s string) string {
	words := strings.Fields(Of(s, 400))
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789\"\\") || w[0] == '/' ||
			strings.Contains(w, "://") || strings.Contains(w[:len(w)-1], ".") {
			words[i] = "#"
			if end := w[len(w)-1]; end == ':' || end == ',' || end == ';' {
				words[i] += string(end)
			}
		}
	}
	return strings.Join(words, " ")
}
