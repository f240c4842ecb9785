// SPDX-License-Identifier: Apache-2.0

package oneline

import "strings"

// joinedMax is how much of the texts of joined errors is told, in characters.
const joinedMax = 4096

// Join is [errors.Join] whose text is one line: the errors that are not nil, with a semicolon
// between them; nil if there is none, and the error itself if there is one.
func Join(errs ...error) error {
	var some []error
	for _, err := range errs {
		if err != nil {
			some = append(some, err)
		}
	}
	switch len(some) {
	case 0:
		return nil
	case 1:
		return some[0]
	}
	return &joined{some}
}

// joined is behind a pointer, so that errors can be compared.
type joined struct{ errs []error }

func (j *joined) Error() string {
	texts := make([]string, len(j.errs))
	for i, err := range j.errs {
		texts[i] = err.Error()
	}
	return Of(strings.Join(texts, "; "), joinedMax)
}

func (j *joined) Unwrap() []error { return j.errs }
