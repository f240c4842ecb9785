// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// way are the steps of a route up to TCP and TLS, by the names that they have for DPS or the hub.
type way struct {
	name, proxy, tcp, tls string
	service               string // what is at its end
	port                  string
}

// nameStep tells how the name was resolved.
func (r *route) nameStep(w way) Step {
	s := Step{Name: w.name, Result: OK, Took: r.nameTook}
	host, _, _ := net.SplitHostPort(r.to)
	switch {
	case r.to == "":
		return Step{Name: w.name, Result: Skipped, Cause: "nothing was dialed"}
	case r.nameErr != nil:
		s.Result = Failed
		s.Cause, s.Fix = explainName(host, r.nameErr, w)
	case r.to != r.address:
		s.Saw = []string{r.by + " leads from " + r.address + " to " + r.to}
	case len(r.addresses) > 0:
		s.Saw = []string{host + " is " + strings.Join(r.addresses, ", ")}
	default:
		s.Saw = []string{host + " is an address"}
	}
	if r.proxy != nil {
		s.Saw = append(s.Saw, "it is the proxy's: that resolves the name of "+w.service)
	}
	return s
}

func explainName(host string, err error, w way) (cause, fix string) {
	name, ok := errors.AsType[*net.DNSError](err)
	server := ""
	if ok && name.Server != "" {
		server = " (name server " + name.Server + ")"
	}
	switch {
	case ok && name.IsNotFound && w.name == StepHubName:
		return host + " does not exist" + server + ": the hub was deleted, or the name server " +
				"does not know public names",
			"if it was deleted, the device asks dps by itself; else correct the name server"
	case ok && name.IsNotFound:
		return host + " does not exist" + server,
			"check -endpoint for a typing mistake, and that the name server knows public names"
	case ok && name.IsTimeout, errors.Is(err, context.DeadlineExceeded):
		return "the name server does not answer" + server,
			"check the network and the name server's address (/etc/resolv.conf)"
	}
	return "the name server failed" + server + ": " + lastText(err),
		"check the network and the name server's address (/etc/resolv.conf)"
}

// proxyStep tells of the proxy; ok is false if there is none.
func (r *route) proxyStep(w way) (s Step, ok bool) {
	if r.proxy == nil {
		return Step{}, false
	}
	return Step{Name: w.proxy, Result: OK, Saw: []string{ // never its user and password
		"through " + r.proxy.Scheme + "://" + r.proxy.Host +
			", as the environment says (HTTPS_PROXY, NO_PROXY)",
	}}, true
}

// tcpStep tells how TCP was opened.
func (r *route) tcpStep(w way) Step {
	s := Step{Name: w.tcp, Result: OK, Took: r.tcpTook}
	switch {
	case !r.dialed:
		return Step{Name: w.tcp, Result: Skipped, Cause: "its name has no address"}
	case r.tcpErr != nil:
		s.Result = Failed
		s.Cause, s.Fix = r.explainTCP(w)
	default:
		s.Saw = []string{r.to + " is open"}
	}
	return s
}

// explainTCP says why there is no connection.
func (r *route) explainTCP(w way) (cause, fix string) {
	fix = "open port " + w.port + " to " + w.service + " in the firewall" + w.alternative()
	switch {
	case r.proxy != nil:
		fix = "check HTTPS_PROXY, and that the proxy runs"
	case r.to != r.address:
		fix = "check " + r.by + ", and what listens there"
	}
	switch err := r.tcpErr; {
	case errors.Is(err, syscall.ECONNREFUSED):
		return r.to + " refuses connections: nobody listens there, or a firewall says no", fix
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return r.to + " cannot be reached: there is no route",
			"check the network: address, gateway, link"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		isTimeout(err):
		return r.to + " does not answer: a firewall drops what is sent there, or there is no " +
			"network", fix
	default:
		return r.to + " cannot be reached: " + lastText(err), "check the network"
	}
}

// alternative is another way than a port that is closed.
func (w way) alternative() string {
	switch w.port {
	case "8883":
		return ", or use -hub-transport ws, which needs port 443 alone"
	case "443":
		return ", or give the proxy in HTTPS_PROXY"
	}
	return ""
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// lastText is what the innermost error says, in one line.
func lastText(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return strings.Join(strings.Fields(err.Error()), " ")
		}
		err = inner
	}
}

// isCut says that the other side, or somebody in between, ended the connection.
func isCut(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// seconds are for people.
func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
