// SPDX-License-Identifier: Apache-2.0

//go:build unix

package hubconn_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// benchRole tells a copy of the test binary what to be: the server of a benchmark, which runs in a
// process of its own so that the processor time and the allocations here are the client's alone; or
// a client of it that measures itself.
const (
	benchRole  = "REHOME_BENCH_ROLE"
	serverRole = "server"
	idleRole   = "idle " // and the side
)

func TestMain(m *testing.M) {
	role := os.Getenv(benchRole)
	if role == "" {
		code := m.Run()
		if benchProgramsDir != "" {
			_ = os.RemoveAll(benchProgramsDir)
		}
		os.Exit(code)
	}
	run := acknowledgeForever
	if side, ok := strings.CutPrefix(role, idleRole); ok {
		run = func() error { return measureIdle(side) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// benchServer is the other process: it accepts everybody and acknowledges everything, over TLS 1.2
// with an RSA-2048 certificate, as IoT Hub has it. It does as little as can be, since it shares the
// machine with what is measured.
type benchServer struct {
	addr     string
	roots    *x509.CertPool
	rootsPEM string
	connects <-chan connect // one for each CONNECT; those that nobody wants are lost
}

// connect is what had gone up to the server and down from it when CONNECT had arrived: bytes, with
// those of TLS, and how often the client had taken its turn.
type connect struct{ up, down, flights int }

func startBenchServer(tb testing.TB) benchServer {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), benchRole+"="+serverRole)
	cmd.Stderr = os.Stderr
	alive, err := cmd.StdinPipe() // closed with this process, however it ends
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	require.NoError(tb, cmd.Start())
	tb.Cleanup(func() {
		_ = alive.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	require.True(tb, lines.Scan(), "the server did not start")
	addr, encoded, _ := strings.Cut(lines.Text(), " ")
	der, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(tb, err)
	rootsPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	roots := x509.NewCertPool()
	require.True(tb, roots.AppendCertsFromPEM(rootsPEM))
	connects := make(chan connect, 1024)
	go func() {
		for lines.Scan() {
			var c connect
			if _, err := fmt.Sscan(lines.Text(), &c.up, &c.down, &c.flights); err != nil {
				continue
			}
			select {
			case connects <- c:
			default:
			}
		}
	}()
	return benchServer{addr: addr, roots: roots, rootsPEM: string(rootsPEM), connects: connects}
}

// connected is the next CONNECT that has arrived.
func (s benchServer) connected(tb testing.TB) connect {
	tb.Helper()
	select {
	case c := <-s.connects:
		return c
	case <-time.After(time.Minute):
		tb.Fatal("the server says nothing of a CONNECT")
		return connect{}
	}
}

func (s benchServer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.addr)
}

func (s benchServer) tlsConfig() *tls.Config {
	return &tls.Config{RootCAs: s.roots, ServerName: host}
}

// acknowledgeForever is the server process. It ends when its standard input does.
func acknowledgeForever() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, IsCA: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		MaxVersion:   tls.VersionTLS12,
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println(listener.Addr(), base64.StdEncoding.EncodeToString(der))
	for {
		nc, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			counted := &countedConn{Conn: nc}
			secure := tls.Server(counted, config)
			defer func() { _ = secure.Close() }()
			_ = acknowledge(secure, counted)
		}()
	}
}

// countedConn counts what goes over it. Reading and writing happen in turn, in one goroutine.
type countedConn struct {
	net.Conn
	connect
	answered bool // since the last read
}

func (c *countedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && (c.answered || c.flights == 0) {
		c.answered = false
		c.flights++
	}
	c.up += n
	return n, err
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.answered = true
	c.down += len(p)
	return c.Conn.Write(p)
}

// acknowledge serves one client. Acknowledgements are written together when nothing that has
// arrived is left to read.
func acknowledge(nc net.Conn, counted *countedConn) error {
	in, out := bufio.NewReaderSize(nc, 64<<10), bufio.NewWriterSize(nc, 4<<10)
	for {
		if in.Buffered() == 0 {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		kind, err := in.ReadByte()
		if err != nil {
			return err
		}
		size, err := binary.ReadUvarint(in) // MQTT 3.1.1 §2.2.3 encodes lengths in the same way
		if err != nil {
			return err
		}
		rest := int(size)
		switch kind >> 4 {
		case 1: // CONNECT
			fmt.Println(counted.up, counted.down, counted.flights)
			_, _ = out.Write([]byte{0x20, 2, 0, 0})
		case 3: // PUBLISH at QoS 1
			topic, err := number(in)
			if err == nil {
				_, err = in.Discard(topic)
			}
			if err != nil {
				return err
			}
			id, err := number(in)
			if err != nil {
				return err
			}
			rest -= 2 + topic + 2
			_, _ = out.Write([]byte{0x40, 2, byte(id >> 8), byte(id)})
		case 8: // SUBSCRIBE to one filter
			id, err := number(in)
			if err != nil {
				return err
			}
			rest -= 2
			_, _ = out.Write([]byte{0x90, 3, byte(id >> 8), byte(id), 1})
		case 12: // PINGREQ
			_, _ = out.Write([]byte{0xd0, 0})
		case 14: // DISCONNECT
			return nil
		}
		if _, err := in.Discard(rest); err != nil {
			return err
		}
	}
}

// number reads two bytes.
func number(in *bufio.Reader) (int, error) {
	high, err := in.ReadByte()
	if err != nil {
		return 0, err
	}
	low, err := in.ReadByte()
	return int(high)<<8 | int(low), err
}
