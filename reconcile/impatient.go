package reconcile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// How long the API server may take to begin an answer. It ends a request itself
// after a minute; a server that does not is dead, and a request without limit
// would wait for it for ever. How long an answer goes on is not bounded: a watch
// is one.
const (
	readPatience  = 35 * time.Second
	writePatience = 65 * time.Second
)

// impatient gives up requests that get no answer.
func impatient(next http.RoundTripper) http.RoundTripper { return &bounded{next} }

type bounded struct{ next http.RoundTripper }

// WrappedRoundTripper serves those who look for the transport below.
func (b *bounded) WrappedRoundTripper() http.RoundTripper { return b.next }

func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	patience := writePatience
	if r.Method == http.MethodGet && r.URL.Query().Get("watch") == "" {
		patience = readPatience
	}
	silence := fmt.Errorf("the api server gave no answer within %s", patience)
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(patience, func() { cancel(silence) })
	res, err := b.next.RoundTrip(r.WithContext(ctx))
	if !timer.Stop() && err == nil { // the answer came when its time was over
		res.Body.Close()
		err = silence
	}
	if err != nil {
		if context.Cause(ctx) == silence {
			err = silence
		}
		cancel(nil)
		return nil, err
	}
	res.Body = &heard{res.Body, cancel}
	return res, nil
}

// heard is the body of an answer whose request ends with it.
type heard struct {
	io.ReadCloser
	end context.CancelCauseFunc
}

func (h *heard) Close() error {
	err := h.ReadCloser.Close()
	h.end(nil)
	return err
}
