// Package source reads a depot where it lies: on any web server that knows ranges,
// or in a folder. It believes nothing and bounds everything: a server may hang,
// trickle, send too much or something else, and the reader gets an error.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"time"
)

// Web is a depot on a web server.
type Web struct {
	Base   *url.URL
	Client *http.Client
}

// Limits against a server that keeps a connection open and sends nothing, or next
// to nothing: TUF's slow retrieval attack.
const (
	patience = 30 * time.Second // without a byte
	slowest  = 512              // bytes a second, over each such span
)

// NewWeb returns a depot at an http or https URL.
func NewWeb(base *url.URL) Web {
	return Web{base, &http.Client{Transport: &http.Transport{
		ResponseHeaderTimeout: patience, IdleConnTimeout: patience, MaxIdleConnsPerHost: 2, DisableCompression: true,
	}}}
}

// Open returns n bytes of a file from off, or all of it when n is negative.
func (w Web) Open(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Base.JoinPath(name).String(), nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	want := http.StatusOK
	if n >= 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, off+n-1))
		want = http.StatusPartialContent
	}
	resp, err := w.Client.Do(req)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if resp.StatusCode == want {
		return watch(resp.Body, cancel), nil
	}
	resp.Body.Close()
	cancel(nil)
	if resp.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("fetch %s: %w", name, fs.ErrNotExist)
	}
	if resp.StatusCode == http.StatusOK {
		return nil, fmt.Errorf("fetch %s: got the whole file for bytes %d to %d: the server knows no ranges", name, off, off+n-1)
	}
	return nil, fmt.Errorf("fetch %s: got %s, want %d", name, resp.Status, want)
}

// ErrSlow ends a transfer that is too slow to come to an end.
var ErrSlow = errors.New("the server is too slow")

// watched is a body with someone who looks at its speed.
type watched struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	timer  *time.Timer
	since  int64 // bytes since the timer was set
}

func watch(body io.ReadCloser, cancel context.CancelCauseFunc) *watched {
	return &watched{ReadCloser: body, cancel: cancel, timer: time.AfterFunc(patience, func() { cancel(ErrSlow) })}
}

// Read passes on bytes; each span with enough of them begins another.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if w.since += int64(n); w.since >= slowest*int64(patience/time.Second) {
		w.since = 0
		w.timer.Reset(patience)
	}
	if errors.Is(err, context.Canceled) {
		err = ErrSlow
	}
	return n, err
}

func (w *watched) Close() error {
	w.timer.Stop()
	err := w.ReadCloser.Close()
	w.cancel(nil)
	return err
}

// Folder is a depot on a disk or stick.
type Folder string

// Open returns n bytes of a file from off, or all of it when n is negative.
func (f Folder) Open(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return nil, fmt.Errorf("read %q: leads out of the folder", name)
	}
	file, err := os.Open(filepath.Join(string(f), filepath.FromSlash(path.Clean(name))))
	if err != nil {
		return nil, err
	}
	if n < 0 {
		return file, nil
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, off, n), file}, nil
}
