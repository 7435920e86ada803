// Package plainhttp serves a control socket in as much of HTTP/1.1 (RFC 9112) as
// its clients use: one request a connection, with a short body or none, an answer
// that ends with the connection. It exists because net/http brings TLS along, and PID 1
// must not carry that.
package plainhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxHead  = 8 << 10
	maxBody  = 256 << 10
	headTime = 10 * time.Second // for head and body
	sendTime = 10 * time.Second // for each write: a reader that stalls is left
)

// Request is what was asked.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	UID    int // of the process at the other end; -1 when the connection can't tell
	Body   []byte

	length int64 // of the body, as the head says
}

// Answer is one way to answer. A handler calls it once, then writes the body, if
// any, to what it returns.
type Answer func(status int, contentType string) io.Writer

// Handler answers requests. ctx ends when the server does or the client has gone.
type Handler func(ctx context.Context, req Request, answer Answer)

// Serve answers each connection to l until ctx ends.
func Serve(ctx context.Context, l net.Listener, h Handler) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go serveOne(ctx, c, h)
	}
}

func serveOne(ctx context.Context, c net.Conn, h Handler) {
	defer c.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	_ = c.SetReadDeadline(time.Now().Add(headTime))
	head := &io.LimitedReader{R: c, N: maxHead}
	in := bufio.NewReader(head)
	answer := func(status int, contentType string) io.Writer {
		w := &patient{c}
		fmt.Fprintf(w, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\n\r\n", status, reason[status], contentType)
		return w
	}
	req, err := Read(in)
	if err == nil && req.length > 0 {
		head.N = req.length - int64(in.Buffered()) // no more than the head promised
		req.Body = make([]byte, req.length)
		if _, err = io.ReadFull(in, req.Body); err != nil {
			err = fmt.Errorf("read request: the body ends early: %w", err)
		}
	}
	if err != nil {
		fmt.Fprintln(answer(400, "text/plain; charset=utf-8"), err)
		// Closing over unread input would take the answer with it.
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, io.LimitReader(c, maxHead))
		return
	}
	req.UID = peerUID(c)
	_ = c.SetReadDeadline(time.Time{})
	go func() { // a client that hangs up ends a long answer
		_, _ = io.Copy(io.Discard, c)
		cancel()
	}()
	h(ctx, req, answer)
}

// peerUID asks the kernel who is at the other end of a unix socket.
func peerUID(c net.Conn) int {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return -1
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid
}

// patient writes with a limit on each write, not on the whole.
type patient struct{ net.Conn }

func (p *patient) Write(b []byte) (int, error) {
	if err := p.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return 0, err
	}
	return p.Conn.Write(b)
}

// Read reads the head of a request.
func Read(in *bufio.Reader) (Request, error) {
	tp := textproto.NewReader(in)
	line, err := tp.ReadLine()
	if err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	method, rest, ok1 := strings.Cut(line, " ")
	target, version, ok2 := strings.Cut(rest, " ")
	if !ok1 || !ok2 || method == "" || !strings.HasPrefix(version, "HTTP/1.") {
		return Request{}, fmt.Errorf("read request: got %.80q, want METHOD PATH HTTP/1.1", line)
	}
	fields, err := tp.ReadMIMEHeader()
	if err != nil {
		return Request{}, fmt.Errorf("read request header: %w", err)
	}
	var length int64
	if s := fields.Get("Content-Length"); s != "" {
		if length, err = strconv.ParseInt(s, 10, 64); err != nil || length < 0 || length > maxBody {
			return Request{}, fmt.Errorf("read request: got a body of %.20q bytes, want %d at most", s, maxBody)
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	return Request{Method: method, Path: u.Path, Query: u.Query(), length: length}, nil
}

var reason = map[int]string{
	200: "OK", 202: "Accepted", 400: "Bad Request", 404: "Not Found",
	403: "Forbidden", 405: "Method Not Allowed", 409: "Conflict", 500: "Internal Server Error",
}
