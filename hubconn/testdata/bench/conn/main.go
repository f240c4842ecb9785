// SPDX-License-Identifier: Apache-2.0

// Conn connects with package hubconn alone and stays connected.
package main

import (
	"context"
	"crypto/tls"
	"os"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/testdata/bench/target"
)

// token is a credential that was made elsewhere.
type token string

func (token) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

func (t token) Token(context.Context, string, time.Time) (string, error) { return string(t), nil }

func main() {
	dialer := &hubconn.Dialer{DialContext: target.Dial, TLSConfig: target.TLSConfig()}
	hub := hubconn.Hub{Host: target.Host, DeviceID: target.DeviceID}
	_, err := dialer.Dial(context.Background(), hub, token(os.Getenv(target.Token)))
	target.Check(err)
	target.Connected()
}
