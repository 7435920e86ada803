package plainhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve runs h on a unix socket and returns its path.
func serve(t *testing.T, h Handler) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

// The client is net/http's, which is what the console uses.
func client(path string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) },
	}}
}

func TestNetHTTPClient(t *testing.T) {
	path := serve(t, func(_ context.Context, req Request, answer Answer) {
		fmt.Fprintf(answer(409, "text/plain"), "%s %s %s %d %s", req.Method, req.Path, req.Query.Get("service"), req.UID, req.Body)
	})
	for _, method := range []string{"GET", "POST"} {
		req, err := http.NewRequest(method, "http://init/log?service=a%20b", strings.NewReader("a body"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client(path).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("%s /log a b %d a body", method, os.Getuid()); err != nil || string(body) != want || resp.StatusCode != 409 {
			t.Errorf("got %d %q, %v; want %q", resp.StatusCode, body, err, want)
		}
		if resp.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("content type %q", resp.Header.Get("Content-Type"))
		}
	}
}

func TestClientThatLeavesEndsALongAnswer(t *testing.T) {
	ended := make(chan struct{})
	path := serve(t, func(ctx context.Context, _ Request, answer Answer) {
		fmt.Fprintln(answer(200, "text/plain"), "first line")
		<-ctx.Done()
		close(ended)
	})
	resp, err := client(path).Get("http://init/log")
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "first line\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	resp.Body.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the handler was not told")
	}
}

func TestRefusals(t *testing.T) {
	path := serve(t, func(context.Context, Request, Answer) { t.Error("handler called") })
	for name, text := range map[string]string{
		"not HTTP":        "hello\r\n\r\n",
		"other version":   "GET / HTTP/2.0\r\n\r\n",
		"no path":         "GET  HTTP/1.1\r\n\r\n",
		"endless head":    "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead) + "\r\n\r\n",
		"header garbage":  "GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"path not a path": "GET %zz HTTP/1.1\r\n\r\n",
		"endless body":    "POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n",
		"less than none":  "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"half a body":     "POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_, _ = io.WriteString(c, text) // the server may have hung up already
			_ = c.(*net.UnixConn).CloseWrite()
			answer, _ := io.ReadAll(c)
			if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
				t.Errorf("got %q", answer)
			}
		})
	}
}

// TestLongBody: one that does not come with its head, up to the limit.
func TestLongBody(t *testing.T) {
	path := serve(t, func(_ context.Context, req Request, answer Answer) {
		fmt.Fprint(answer(200, "text/plain"), len(req.Body))
	})
	resp, err := client(path).Post("http://init/site", "text/plain", strings.NewReader(strings.Repeat("x", maxBody)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); string(got) != fmt.Sprint(maxBody) {
		t.Errorf("got %s, %v", got, err)
	}
}

func FuzzRead(f *testing.F) {
	f.Add("GET /log?service=netd HTTP/1.1\r\nHost: init\r\n\r\n")
	f.Add("POST /poweroff HTTP/1.0\n\n")
	f.Add("POST /site/apply HTTP/1.1\r\nContent-Length: 5\r\n\r\n[net]")
	f.Add("GET http://x/y HTTP/1.1\r\nA:\r\n b\r\n\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		req, err := Read(bufio.NewReader(strings.NewReader(text)))
		if err == nil && req.Method == "" {
			t.Errorf("%q: no method", text)
		}
	})
}
