package control

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	commands := []Command{
		{Name: "say", Args: "WORD...", Help: "says it", Run: func(_ context.Context, args []string) (string, error) {
			return strings.Join(args, "+"), nil
		}},
		{Name: "fail", Help: "fails", Run: func(context.Context, []string) (string, error) { return "", errors.New("because") }},
		{Name: "do", Help: "does", Run: func(context.Context, []string) (string, error) { return "", nil }},
	}
	socket := filepath.Join(t.TempDir(), "ctl")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, socket, commands) }()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if _, err := Call(socket, "do"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody answers")
		}
	}
	tests := []struct {
		words      string
		want, fail string
	}{
		{"say a b", "a+b\n", ""},
		{"do", "done\n", ""},
		{"fail", "", "because"},
		{"what", Usage(commands), ""},
		{"", Usage(commands), ""},
	}
	for _, tt := range tests {
		got, err := Call(socket, strings.Fields(tt.words)...)
		if got != tt.want || (err == nil) != (tt.fail == "") || err != nil && err.Error() != tt.fail {
			t.Errorf("%q: got %q, %v; want %q, %q", tt.words, got, err, tt.want, tt.fail)
		}
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if _, err := Call(socket, "do"); err == nil || !strings.Contains(err.Error(), "make run") {
		t.Errorf("after the end: got %v", err)
	}
}
