// SPDX-License-Identifier: Apache-2.0

package settings

import "regexp"

// PassOverKubernetes has Read pass over variables by which Kubernetes tells of a service. It gives
// every container those of each service of its name space, which begin with the service's name: one
// that is called as the program must not keep it from starting. (Kubernetes docs: "Discovering
// services", "Accessing the Service".) A program that is not run there does without: the code that
// finds them takes a quarter of a megabyte.
func (s *Settings) PassOverKubernetes() {
	ofService := regexp.MustCompile(`(^|_)SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)$`)
	ofPort := regexp.MustCompile(`(^|_)PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?$`)
	portURL := regexp.MustCompile(`^(tcp|udp|sctp)://`)
	// What somebody has mistyped is another thing: a plain …_PORT is a number.
	s.passOver = func(rest, value string) bool {
		if ofService.MatchString(rest) {
			return true
		}
		m := ofPort.FindStringSubmatch(rest)
		return m != nil && (m[2] != "" || portURL.MatchString(value))
	}
}
