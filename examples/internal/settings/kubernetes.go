// SPDX-License-Identifier: Apache-2.0

package settings

import "regexp"

// Kubernetes gives every container variables of each service of its name space, which begin with
// the service's name: one that is called as the program must not keep it from starting.
// (Kubernetes docs: "Discovering services", "Accessing the Service".)
var (
	ofService = regexp.MustCompile(`(^|_)SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$`)
	ofPort    = regexp.MustCompile(`(^|_)PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)
	portURL   = regexp.MustCompile(`^(tcp|udp|sctp)://`)
)

// isOfKubernetes says that a variable, of whose name the program's own has been cut off, tells of a
// service. What somebody has mistyped is another thing: a plain …_PORT is a number.
func isOfKubernetes(rest, value string) bool {
	if ofService.MatchString(rest) {
		return true
	}
	m := ofPort.FindStringSubmatch(rest)
	return m != nil && (m[2] != "" || portURL.MatchString(value))
}
