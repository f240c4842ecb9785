// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bufio"
	"encoding/csv"
	"io"
	"strconv"
)

var csvHead = []string{
	"second", "registrations", "wasted", "clock", "polls", "devices_asking", "connects", "refused",
	"connected", "arrived",
}

// CSV writes what happened in each second.
func (m *Measure) CSV(w io.Writer) error {
	buffered := bufio.NewWriter(w)
	c := csv.NewWriter(buffered)
	if err := c.Write(csvHead); err != nil {
		return err
	}
	for i, s := range m.Seconds {
		line := []string{strconv.Itoa(i)}
		for _, n := range []int32{
			s.Registrations, s.Wasted, s.Clock, s.Polls, s.Devices, s.Connects, s.Refused,
			s.Connected, s.Arrived,
		} {
			line = append(line, strconv.Itoa(int(n)))
		}
		if err := c.Write(line); err != nil {
			return err
		}
	}
	c.Flush()
	if err := c.Error(); err != nil {
		return err
	}
	return buffered.Flush()
}
