// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// DefaultBucket is the bucket of a Config that names none.
	DefaultBucket = "rehome-leases"
	// DefaultDuration is for how long a lease is confirmed if Config does not say.
	DefaultDuration = 15 * time.Second

	shortest = 100 * time.Millisecond
	longest  = time.Hour
	longName = 255
)

// Config says which replica joins which others.
type Config struct {
	// Conn is the connection to NATS; see natskv.ConnOptions. It stays the program's to close,
	// after the replica. Required.
	Conn *nats.Conn

	// Bucket is what the replicas of one fleet have in common: letters, digits, hyphen and
	// underscore. Fleets that share NATS servers have one each. The default is DefaultBucket. It is
	// made if it is not there; one that is must have no time to live.
	Bucket string

	// Replicas is how many servers keep the bucket where it is made: 1 by default, 3 in a cluster
	// of three. One that is there already is left as it is.
	Replicas int

	// Name tells the replica from the others, and decides what is placed on it, so that it should
	// be the same after a restart. The default is the host's name.
	Name string

	// Duration is for how long a lease is confirmed, DefaultDuration by default: after 1.1 times
	// that, others take over from a replica that died. 100 ms to 1 h; below 5 s a busy machine or
	// a change of NATS's leader may be taken for a death. It may differ between replicas.
	Duration time.Duration

	// Sole says that no other process can reach the server, as with one embedded without a port:
	// what an earlier process has left is taken over at once, without waiting for its death.
	Sole bool

	// Logger is told what is unusual; nil is silence.
	Logger *slog.Logger
}

var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// complete returns the configuration with its defaults.
func (c Config) complete() (Config, error) {
	if c.Conn == nil {
		return c, errors.New("set Conn to a connection to NATS")
	}
	if c.Bucket == "" {
		c.Bucket = DefaultBucket
	}
	if !bucketName.MatchString(c.Bucket) {
		return c, fmt.Errorf("bucket %q: use letters, digits, hyphen and underscore", c.Bucket)
	}
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			return c, fmt.Errorf("set Name, for the host has none: %w", err)
		}
		c.Name = host
	}
	if len(c.Name) > longName {
		return c, fmt.Errorf("the name has %d bytes: use %d at most", len(c.Name), longName)
	}
	if c.Duration == 0 {
		c.Duration = DefaultDuration
	}
	if c.Duration < shortest || c.Duration > longest {
		return c, fmt.Errorf("duration %v: use %v to %v", c.Duration, shortest, longest)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
