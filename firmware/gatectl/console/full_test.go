package console

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab/pty"
	"clinicgate/firmware/lab/vt100"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// patience is for a busy machine; nothing is judged by it.
const limit = 30 * time.Second

// line is a console at one end of a serial line, and a terminal at the other.
type line struct {
	person, program *os.File
	shows           *vt100.Terminal
	looks           atomic.Int32
	stop            context.CancelFunc
	done            chan error
	did             chan string
}

func plug(t *testing.T, kind string, read bool) *line {
	t.Helper()
	l := &line{shows: vt100.New(80, 24), done: make(chan error, 1), did: make(chan string, 20)}
	l.person, l.program = pty.Open(t)
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	look := func() (status.Box, time.Time) {
		n := l.looks.Add(1)
		return status.Box{SiteErr: fmt.Sprintf("look %d", n), Update: status.Seen[wire.Update]{Presence: status.Live, V: &wire.Update{State: wire.UpdateIdle}}}, time.Unix(int64(n), 0)
	}
	do := func(_ context.Context, talk Talk, arg string) error {
		l.did <- strings.TrimSpace("do " + arg)
		fmt.Fprintf(talk, "\x1b[31mdid it %s\n", arg)
		return nil
	}
	ask := func(_ context.Context, talk Talk, _ string) error {
		code, err := talk.Ask("Code:", true)
		l.did <- fmt.Sprintf("code %q %v", code, err)
		return err
	}
	commands := []Command{{Word: "do", Run: do}, {Word: "ask", Run: ask}, {Word: "end", Confirm: "End it?", Run: do}}
	first := func(w io.Writer) { fmt.Fprintln(w, "first words") }
	go func() { l.done <- Serve(ctx, l.program, l.program, kind, first, look, commands) }()
	if read {
		go io.Copy(l.shows, l.person)
	}
	return l
}

// wait waits until the terminal shows text.
func (l *line) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(limit); !strings.Contains(l.shows.Screen(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q was never shown; there is\n%s", text, l.shows.Screen())
		}
	}
}

func (l *line) type_(t *testing.T, text string) {
	t.Helper()
	if _, err := l.person.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func (l *line) wants(t *testing.T, what string) {
	t.Helper()
	select {
	case got := <-l.did:
		if got != what {
			t.Fatalf("did %q, want %q", got, what)
		}
	case <-time.After(limit):
		t.Fatalf("never did %q; there is\n%s", what, l.shows.Screen())
	}
}

func (l *line) ends(t *testing.T) {
	t.Helper()
	select {
	case err := <-l.done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Fatal("the console never ended")
	}
}

func TestFullScreen(t *testing.T) {
	l := plug(t, "vt100", true)
	found, err := unix.IoctlGetTermios(int(l.program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	l.wait(t, "NOT SET UP")
	l.wait(t, " 1)do 2)ask 3)end ?)help\n Choose:\n")
	l.type_(t, "1 it\r")
	l.wants(t, "do it")
	l.wait(t, " DO\n")
	l.wait(t, "?[31mdid it it\n")
	l.wait(t, "Enter: back")
	l.type_(t, "\r")
	l.wait(t, "NOT SET UP")
	l.type_(t, "3\r")
	l.wait(t, "End it? Type yes:")
	l.type_(t, "no\r")
	l.wait(t, "not done")
	l.type_(t, "ask\r")
	l.wait(t, "Code:")
	l.type_(t, "1234\r")
	l.wants(t, `code "1234" <nil>`)
	l.wait(t, "Code: ****")
	l.type_(t, "ask\r")
	l.wait(t, "Code:\n")
	l.type_(t, "b\r")
	l.wants(t, fmt.Sprintf("code %q %v", "", ErrLeft))
	l.wait(t, "Choose:")
	l.type_(t, "plain\r")
	l.wait(t, "first words\n")
	l.wait(t, strings.TrimSpace(Prompt))
	l.type_(t, "do plainly\r")
	l.wants(t, "do plainly")
	l.type_(t, "screen\r")
	l.wait(t, "Choose:")
	l.wait(t, "NOT SET UP")
	l.stop()
	l.ends(t)
	if m := l.shows.Mistakes(); len(m) > 0 {
		t.Errorf("a VT100 does not know %q", m)
	}
	if now, err := unix.IoctlGetTermios(int(l.program.Fd()), unix.TCGETS); err != nil || *now != *found {
		t.Errorf("the terminal was left in another mode: %+v, was %+v, %v", now, found, err)
	}
}

// A terminal that can't show a screen gets lines; TERM may be missing.
func TestDumbTerminal(t *testing.T) {
	for _, kind := range []string{"", "dumb"} {
		l := plug(t, kind, true)
		l.wait(t, "first words\n")
		l.wait(t, strings.TrimSpace(Prompt))
		l.type_(t, "do it\n")
		l.wants(t, "do it")
		l.stop()
		l.ends(t)
		if m := l.shows.Mistakes(); len(m) > 0 {
			t.Errorf("TERM=%q: got %q", kind, m)
		}
	}
}

// A terminal that takes nothing, as behind a pulled cable that was held up, does
// not keep the console from ending.
func TestBlockedTerminal(t *testing.T) {
	for _, kind := range []string{"vt100", "dumb"} {
		l := plug(t, kind, false)
		for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
			// Each asks for some hundred bytes, until nothing fits any more.
			l.person.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := l.person.WriteString(strings.Repeat("\x0c?\r", 50)); err != nil || blocked(l.program) {
				break
			}
			if time.Now().After(end) {
				break // it is bounded otherwise: it has to end all the same
			}
		}
		l.stop()
		l.ends(t)
	}
}

// blocked reports whether a terminal's output is full.
func blocked(f *os.File) bool {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// A megabyte is read in pieces, and the console works after it.
func TestPaste(t *testing.T) {
	l := plug(t, "vt100", true)
	l.wait(t, "Choose:")
	l.person.SetWriteDeadline(time.Now().Add(limit))
	if _, err := l.person.Write(bytes.Repeat([]byte("rm -rf / \x1b[200~\xff\x00"), 1<<20/18)); err != nil {
		t.Fatal(err)
	}
	l.type_(t, "\r\x15do after\r")
	l.wants(t, "do after")
	l.stop()
	l.ends(t)
	if m := l.shows.Mistakes(); len(m) > 0 {
		t.Errorf("got %q", m)
	}
}

// The cable's other end goes: the console ends, for init to start it afresh.
func TestHangUp(t *testing.T) {
	l := plug(t, "vt100", true)
	l.wait(t, "Choose:")
	l.person.Close()
	select {
	case <-l.done:
	case <-time.After(limit):
		t.Fatal("the console never ended")
	}
}

func TestFilter(t *testing.T) {
	for in, want := range map[string]string{
		"plain\n":              "plain\r\n",
		"\x1b[2J\x1b[3;4Hx":    "\x1b[2J\x1b[3;4Hx",
		"\x1b[?2026$p\x1b[>1u": "", "\x1b[6n\x1b[c\x1b]11;?\x07\x1bP+q\x1b\\": "",
		"\x1b[38;5;1mred\x1b[1mbold\x1b[m": "red\x1b[1mbold\x1b[m",
		"é┌x\x07\x00":                      "??x",
		"\x1b[?1049h\x1b[?25l":             "",
		"\x1b7\x1b8\x1bM\x1bc":             "\x1b7\x1b8\x1bM",
	} {
		for size := 1; size < 8; size++ { // however it is cut
			var out bytes.Buffer
			f := &filter{out: &out}
			for i := 0; i < len(in); i += size {
				f.Write([]byte(in[i:min(len(in), i+size)]))
			}
			if out.String() != want {
				t.Errorf("%q in pieces of %d: got %q, want %q", in, size, out.String(), want)
			}
		}
	}
	if _, err := (&filter{out: broken{}}).Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v", err)
	}
}

// Whatever goes in, what comes out is nothing that a VT100 does not know, and no
// question.
func FuzzFilter(f *testing.F) {
	f.Add([]byte("\x1b[2J\x1b]x\x1b\\\x1b[?1h\x1b[38;5;2mé"))
	f.Fuzz(func(t *testing.T, in []byte) {
		term := vt100.New(80, 24)
		if _, err := (&filter{out: term}).Write(in); err != nil {
			t.Fatal(err)
		}
		if m := term.Mistakes(); len(m) > 0 {
			t.Fatalf("%q let %q through", in, m)
		}
	})
}
