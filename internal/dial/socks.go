// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
)

// What SOCKS 5 calls things (RFC 1928).
const (
	socksVersion   = 5
	socksConnect   = 1
	socksNoAuth    = 0
	socksPassword  = 2
	socksIPv4      = 1
	socksName      = 3
	socksIPv6      = 4
	passwordFormat = 1 // RFC 1929
)

// socksReplies are the refusals of RFC 1928 §6.
var socksReplies = []string{
	1: "general failure", 2: "not allowed by its rules", 3: "network unreachable",
	4: "host unreachable", 5: "connection refused", 6: "time to live expired",
	7: "command not supported", 8: "kind of address not supported",
}

// requestSOCKS asks a SOCKS 5 proxy for a connection to address. The proxy gets the name and looks
// it up, also with the scheme socks5, as net/http does: behind such a proxy there may be no DNS.
func requestSOCKS(nc net.Conn, proxy *url.URL, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	if len(host) > 255 {
		return errors.New("the server's name is longer than the 255 bytes of SOCKS")
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("port %q is not a number up to 65535", port)
	}
	if err := authenticateSOCKS(nc, proxy.User); err != nil {
		return fmt.Errorf("socks proxy: %w", err)
	}
	request := append([]byte{socksVersion, socksConnect, 0}, socksAddress(host)...)
	if _, err := nc.Write(binary.BigEndian.AppendUint16(request, uint16(number))); err != nil {
		return fmt.Errorf("request to the socks proxy: %w", err)
	}
	if err := readSOCKSReply(nc); err != nil {
		return fmt.Errorf("socks proxy: %w", err)
	}
	return nil
}

// authenticateSOCKS agrees on a method, and sends user name and password where the proxy wants them
// (RFC 1929).
func authenticateSOCKS(nc net.Conn, user *url.Userinfo) error {
	methods := []byte{socksNoAuth}
	password, _ := user.Password()
	name := user.Username()
	if user != nil {
		if name == "" || len(name) > 255 || len(password) > 255 {
			return errors.New("user name or password is empty or longer than 255 bytes")
		}
		methods = append(methods, socksPassword)
	}
	greeting := append([]byte{socksVersion, byte(len(methods))}, methods...)
	if _, err := nc.Write(greeting); err != nil {
		return err
	}
	var chosen [2]byte
	if _, err := io.ReadFull(nc, chosen[:]); err != nil {
		return err
	}
	switch {
	case chosen[0] != socksVersion:
		return fmt.Errorf("it speaks version %d and not 5", chosen[0])
	case chosen[1] == socksNoAuth:
		return nil
	case chosen[1] != socksPassword || user == nil:
		return errors.New("it accepts no way to authenticate that is known here")
	}
	message := append([]byte{passwordFormat, byte(len(name))}, name...)
	message = append(append(message, byte(len(password))), password...)
	if _, err := nc.Write(message); err != nil {
		return err
	}
	var status [2]byte
	if _, err := io.ReadFull(nc, status[:]); err != nil {
		return err
	}
	if status[1] != 0 {
		return errors.New("it refused user name and password")
	}
	return nil
}

// socksAddress is a host as RFC 1928 §5 writes it.
func socksAddress(host string) []byte {
	ip := net.ParseIP(host)
	if v4 := ip.To4(); v4 != nil {
		return append([]byte{socksIPv4}, v4...)
	}
	if ip != nil {
		return append([]byte{socksIPv6}, ip...)
	}
	return append([]byte{socksName, byte(len(host))}, host...)
}

// readSOCKSReply reads the reply to its last byte: what follows belongs to the server.
func readSOCKSReply(nc net.Conn) error {
	var head [4]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return err
	}
	if head[0] != socksVersion {
		return fmt.Errorf("it speaks version %d and not 5", head[0])
	}
	if code := int(head[1]); code != 0 {
		if code < len(socksReplies) {
			return fmt.Errorf("it refused the connection: %s", socksReplies[code])
		}
		return fmt.Errorf("it refused the connection with code %d", code)
	}
	size := 0
	switch head[3] {
	case socksIPv4:
		size = net.IPv4len
	case socksIPv6:
		size = net.IPv6len
	case socksName:
		var n [1]byte
		if _, err := io.ReadFull(nc, n[:]); err != nil {
			return err
		}
		size = int(n[0])
	default:
		return fmt.Errorf("its reply has an address of kind %d", head[3])
	}
	bound := make([]byte, size+2) // and the port; neither is of use here
	_, err := io.ReadFull(nc, bound)
	return err
}
