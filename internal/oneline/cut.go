// SPDX-License-Identifier: Apache-2.0

package oneline

// Cut is err with the text that [Of] makes of its own, and err itself where that is the same or err
// is nil. It is for errors of libraries that quote what a peer said, however long that is.
func Cut(err error, limit int) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if short := Of(text, limit); short != text {
		return &cut{short, err}
	}
	return err
}

// cut is behind a pointer, so that errors can be compared.
type cut struct {
	text string
	err  error
}

func (c *cut) Error() string { return c.text }
func (c *cut) Unwrap() error { return c.err }
