// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a [time.Duration] that is text in JSON, such as "1m30s". Faults and the scenarios
// made of them are written so in files, for people to read and write.
type Duration time.Duration

// String returns the text of the duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON returns the text of the duration as a JSON string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a JSON string that [time.ParseDuration] accepts. Anything else is an error, a
// number without a unit among it.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf(`%s is no duration: write it as "30s" or "1m30s"`, data)
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`%q is no duration: write it as "30s" or "1m30s"`, text)
	}
	*d = Duration(parsed)
	return nil
}
