package hubconn

import (
	"context"
	"errors"
	"io"
)

var errNotYet = errors.New("hubconn: not built yet")

type UploadOptions struct {
	BlockSize   int
	MaxRetries  int
	Progress    func(sent int64)
	ContentType string
}

func (c *Conn) Upload(ctx context.Context, name string, r io.Reader, o UploadOptions) error {
	return errNotYet
}
