// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/hubconn/simdial"
)

// simulatorOption is the variable by which the project's simulator leads programs to itself, as a
// setting of this program. It stands behind -ca and -connect-to, which go before it.
func (p *program) simulatorOption() settings.Option {
	return settings.Option{Name: "simulator", Value: "LINE|FILE", Assign: p.assignSimulator,
		Usage: "lead to the simulator whose ready line this is, or begins the file; for -ca and " +
			"-connect-to (default Azure)"}
}

func (p *program) assignSimulator(text string) error {
	line := []byte(strings.TrimSpace(text))
	if !strings.HasPrefix(string(line), "{") {
		if settings.LooksLikeKey(text) {
			return errors.New("cannot be right: what it was given looks like a key")
		}
		var err error
		if line, err = os.ReadFile(string(line)); err != nil {
			return fmt.Errorf(
				"cannot be read: %w: name a file with the simulator's ready line", err,
			)
		}
	}
	if _, err := simdial.Parse(line); err != nil {
		return fmt.Errorf("cannot be used: %w", err)
	}
	var ready struct{ HTTPS, MQTT, CA string }
	if err := json.NewDecoder(strings.NewReader(string(line))).Decode(&ready); err != nil {
		return errors.New("cannot be used: it is not json") // Parse has read it
	}
	if len(p.Redirects) == 0 {
		p.redirectedBy = p.Origin("simulator")
	}
	for _, to := range []string{":443:" + ready.HTTPS, ":8883:" + ready.MQTT} {
		if err := p.Redirect(to); err != nil {
			return fmt.Errorf("cannot be used: %s %w", to, err)
		}
	}
	if p.CA == "" {
		p.CA = ready.CA
	}
	return nil
}
