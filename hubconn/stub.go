package hubconn

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"time"
)

var errNotYet = errors.New("hubconn: not built yet")

func (c *Conn) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) { yield(Message{}, errNotYet) }
}

type Methods struct {
	Handlers      map[string]MethodHandler
	Default       MethodHandler
	MaxConcurrent int
	Timeout       time.Duration
}
type MethodHandler func(ctx context.Context, r MethodRequest) (status int, payload any, err error)
type MethodRequest struct {
	Name    string
	Payload json.RawMessage
}

func (c *Conn) HandleMethods(ctx context.Context, m Methods) error { return errNotYet }

type Properties struct {
	Version int64
	JSON    json.RawMessage
}

func (p Properties) Decode(v any) error { return json.Unmarshal(p.JSON, v) }

type Twin struct{ Desired, Reported Properties }

func (c *Conn) Twin(ctx context.Context) (Twin, error) { return Twin{}, errNotYet }
func (c *Conn) Report(ctx context.Context, patch any) (version int64, err error) {
	return 0, errNotYet
}

type Desired struct {
	Version int64
	Full    bool
	JSON    json.RawMessage
}

func (c *Conn) Desired(ctx context.Context) iter.Seq2[Desired, error] {
	return func(yield func(Desired, error) bool) { yield(Desired{}, errNotYet) }
}

type UploadOptions struct {
	BlockSize   int
	MaxRetries  int
	Progress    func(sent int64)
	ContentType string
}

func (c *Conn) Upload(ctx context.Context, name string, r io.Reader, o UploadOptions) error {
	return errNotYet
}
