package deliver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Client asks one destination over HTTP.
type Client struct {
	base           *url.URL
	user, password string
	http           *http.Client
}

// silence is how long a connection may carry nothing before it counts as dead.
const silence = 20 * time.Second

// unsent is how much may wait in the kernel to be sent for the first time: what is in
// there goes ahead of anything urgent.
const unsent = 16 << 10

// Dialer connects to destinations: what was sent and stays unacknowledged for long
// ends the connection, and little waits in the kernel ahead of what is urgent.
func Dialer() *net.Dialer {
	dialer := &net.Dialer{
		Timeout: 10 * time.Second,
		Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			cerr := c.Control(func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence/time.Millisecond)),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent))
			})
			return errors.Join(cerr, err)
		},
	}
	dialer.SetMultipathTCP(false)
	return dialer
}

// NewClient returns a client for the URL, which has no trailing slash. With a
// user it identifies itself by HTTP basic authentication.
func NewClient(base *url.URL, user, password string) *Client {
	return &Client{base: base, user: user, password: password, http: &http.Client{
		Transport: &http.Transport{
			DialContext: Dialer().DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: time.Minute,
			IdleConnTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Through has requests go through what wrap makes of the client's transport. It is
// called before the client is used.
func (c *Client) Through(wrap func(*http.Transport) http.RoundTripper) {
	c.http.Transport = wrap(c.http.Transport.(*http.Transport))
}

// A Request is one question to the destination.
type Request struct {
	Method string
	Path   string // behind the base, with its query
	Header map[string]string
	Body   io.Reader
	Size   int64 // of the body
}

// Do asks and returns the answer, whatever its status; the caller closes its
// body. Without an answer the error is a *Failure of kind Unreachable: whether
// the destination did what it was asked is then unknown.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, c.base.String()+r.Path, r.Body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base.Host, err)
	}
	if r.Body != nil {
		req.ContentLength = r.Size
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", "clinicgate-syncd")
	if c.user != "" {
		req.SetBasicAuth(c.user, c.password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // without the URL, whose query may identify someone
		}
		return nil, &Failure{Kind: Unreachable, Reason: "no answer from " + c.base.Host, Err: err}
	}
	return resp, nil
}

// Patience is how long an exchange with a body of size bytes may take: a minute,
// and what a link of 4 KiB/s needs.
func Patience(size int64) time.Duration {
	return time.Minute + time.Duration(size/(4<<10))*time.Second
}

// Status judges an answer whose status is not the wished one.
func Status(resp *http.Response) error {
	reason := "answers " + strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode)
	f := &Failure{Kind: Troubled, Reason: reason}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		f.Kind = Refusing
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable,
		http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		f.Kind = Unreachable
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
			f.After = min(time.Duration(n)*time.Second, 10*time.Minute)
		}
	case http.StatusInternalServerError:
		// One item can make a server fail; it must not stop the others.
	default:
		switch resp.StatusCode / 100 {
		case 3:
			f.Kind = Refusing
		case 4:
			f.Kind = Refused
		}
	}
	return f
}

// Discard reads what little is left of an answer, so that its connection can be
// used again, and closes it.
func Discard(resp *http.Response) {
	io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}
