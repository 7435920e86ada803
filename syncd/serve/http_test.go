package serve

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
)

// The end waits for the request in flight, whose stores are closed only then.
func TestHTTPEndsOrderly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inside, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(inside)
		<-release
		io.WriteString(w, "answered")
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- HTTP(ctx, l, h, slog.New(slog.NewTextHandler(io.Discard, nil))) }()
	got := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			got <- err.Error()
			return
		}
		defer resp.Body.Close()
		data, _ := io.ReadAll(resp.Body)
		got <- string(data)
	}()
	<-inside
	cancel()
	select {
	case err := <-ended:
		t.Fatalf("ended with a request in flight: %v", err)
	default:
	}
	close(release)
	if answer := <-got; answer != "answered" {
		t.Errorf("the request in flight got %q", answer)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestHTTPTellsALostListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := HTTP(t.Context(), l, http.NotFoundHandler(), slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil {
		t.Error("no error from a closed listener")
	}
}
