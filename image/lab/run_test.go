package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"clinicgate/firmware/lab/relay"
	"clinicgate/image/lab/clinic"
)

func TestParse(t *testing.T) {
	t.Setenv("CI", "true")
	tests := []struct {
		args    string
		gateway string
		fail    string
	}{
		{"", "image", ""},
		{"-gateway=namespace", "namespace", ""},
		{"-gateway=cloud", "", `got "cloud", want image or namespace`},
	}
	for _, tt := range tests {
		o, err := parse(strings.Fields(tt.args))
		switch {
		case tt.fail != "":
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%q: got %v, want %q", tt.args, err, tt.fail)
			}
		case err != nil || o.gateway != tt.gateway || !o.ci:
			t.Errorf("%q: got %+v, %v", tt.args, o, err)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range []string{"", "dance"} {
		var out, errs bytes.Buffer
		if code := logic(strings.Fields(args), &out, &errs); code != 2 || !strings.Contains(errs.String(), "lab run") {
			t.Errorf("%q: exit status %d, %s", args, code, &errs)
		}
	}
}

// idle is an end nothing happens at.
type idle struct{ closed chan struct{} }

func (e idle) ReadFrame([]byte) (int, error) { <-e.closed; return 0, context.Canceled }
func (e idle) WriteFrame([]byte) error       { return nil }
func (e idle) Close() error                  { close(e.closed); return nil }

func TestCableCommands(t *testing.T) {
	link := relay.New(idle{make(chan struct{})}, idle{make(chan struct{})}, 1)
	defer link.Close()
	s := &scene{clinic: &clinic.Clinic{Cables: map[string]*relay.Link{"isp-a": link}}}
	tests := []struct{ command, fail string }{
		{"cut isp-a", ""},
		{"restore isp-a", ""},
		{"shape isp-a delay=50ms jitter=1ms loss=0.05 rate=2000000", ""},
		{"shape isp-a", ""},
		{"shape isp-a speed=1", "want delay, jitter, loss or rate"},
		{"shape isp-a delay=soon", "soon"},
		{"cut isp-z", "want a cable"},
		{"cut", "want a cable"},
		{"card", "want in or out"},
		{"power off", "want cut or on"},
		{"ehr", "want down or up"},
	}
	for _, tt := range tests {
		words := strings.Fields(tt.command)
		err := context.Canceled // nobody knows the command
		for _, c := range s.commands(func() {}) {
			if c.Name == words[0] {
				_, err = c.Run(context.Background(), words[1:])
			}
		}
		if (err == nil) != (tt.fail == "") || err != nil && !strings.Contains(err.Error(), tt.fail) {
			t.Errorf("%s: got %v, want %q", tt.command, err, tt.fail)
		}
	}
}
