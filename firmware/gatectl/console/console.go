// Package console is the menu on the serial line, as a full screen or, for terminals
// that can't show one, as one numbered command a line, typed as a number or a word.
// Whatever comes in (line noise, a pasted megabyte, escape sequences) costs bounded
// memory and a bounded answer; nothing that goes out asks the terminal anything, a
// terminal that takes nothing holds nobody up, and there is no way to a shell.
package console

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Prompt ends everything the console says when it waits for a command.
const Prompt = "clinicgate> "

// Command is one line of the menu.
type Command struct {
	Word    string
	Help    string
	Confirm string // question to be answered with yes first; empty: none
	// Run does it. An error is shown and changes nothing else.
	Run func(ctx context.Context, t Talk, arg string) error
}

// Talk is what a command says and asks.
type Talk interface {
	io.Writer
	// Ask waits for one line. What is typed to a hidden question is not shown where
	// that can be helped. ErrLeft: nobody will answer.
	Ask(question string, hidden bool) (string, error)
}

// ErrLeft is what a question is answered with when the person went elsewhere.
var ErrLeft = errors.New("left without an answer")

// obey asks for confirmation where it is wanted, and runs the command.
func (c Command) obey(ctx context.Context, t Talk, arg string) error {
	if c.Confirm != "" {
		if answer, err := t.Ask(c.Confirm+" Type yes:", false); err != nil || answer != "yes" {
			fmt.Fprintln(t, "not done")
			return nil
		}
	}
	return c.Run(ctx, t, arg)
}

const (
	maxLine = 200
	// patience is how many lines that are no command, or empty, are answered in a
	// row. After that the console is silent until a word of the menu comes: noise must
	// not make more noise, and a digit between two line ends is often noise.
	patience = 3
)

// errFull ends the plain menu for the full screen.
var errFull = errors.New("full screen")

// Run shows first, then obeys until in ends. It returns nil when in ended and the
// error when writing failed: the line is gone.
func Run(ctx context.Context, in io.Reader, out io.Writer, first func(io.Writer), commands []Command) error {
	return newSession(ctx, in, out, commands).run(first)
}

func newSession(ctx context.Context, in io.Reader, out io.Writer, commands []Command) *session {
	return &session{ctx: ctx, in: bufio.NewReaderSize(in, 4096), out: out, commands: commands}
}

func (c *session) run(first func(io.Writer)) error {
	first(c)
	c.menu()
	unknown, empty := 0, 0
	for c.err == nil && c.end == nil {
		if unknown <= patience && empty <= patience {
			c.say(Prompt)
		}
		line, err := c.readLine()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return c.err
			}
			return err
		}
		if line == "" { // Enter on a line just plugged in: what is this?
			if empty++; empty <= patience && unknown <= patience {
				c.menu()
			}
			continue
		}
		if empty = 0; c.obey(line, unknown) {
			unknown = 0
		} else {
			unknown++
		}
	}
	return cmp.Or(c.err, c.end)
}

type session struct {
	ctx      context.Context
	in       *bufio.Reader
	out      io.Writer
	err      error // first failure to write
	skip     bool  // the last line ended in CR: its LF is not another line
	commands []Command
	full     bool  // there is a full screen to go to
	end      error // why it is over
}

// Write sends text to the terminal: printable ASCII, and CR LF for line ends,
// because a program can't know how its tty is set.
func (c *session) Write(p []byte) (int, error) {
	safe := make([]byte, 0, len(p)+16)
	for _, b := range p {
		switch {
		case b == '\n':
			safe = append(safe, '\r', '\n')
		case b >= ' ' && b <= '~':
			safe = append(safe, b)
		case b != '\r':
			safe = append(safe, '?')
		}
	}
	if c.err == nil {
		_, c.err = c.out.Write(safe)
	}
	return len(p), c.err
}

// Ask puts a question and reads a line. A line of too many characters is no answer.
func (c *session) Ask(question string, _ bool) (string, error) {
	c.say("%s ", question)
	answer, err := c.readLine()
	if err != nil {
		return "", ErrLeft
	}
	return answer, c.err
}

func (c *session) say(format string, args ...any) { fmt.Fprintf(c, format, args...) }

// menu is one line per command, or as many to a line as fit.
func (c *session) menu() {
	line := ""
	for i, cmd := range c.commands {
		item := fmt.Sprintf(" %d)%s", i+1, cmd.Word)
		if len(line)+len(item) > 78 {
			c.say("%s\n", line)
			line = ""
		}
		line += item
	}
	c.say("%s\n", line)
}

// obey runs one line and reports whether it was a command.
func (c *session) obey(line string, unknown int) bool {
	word, arg, _ := strings.Cut(line, " ")
	cmd, ok := c.find(word)
	if unknown > patience {
		ok = ok && cmd.Word == word
	}
	switch {
	case word == "help" || word == "?":
		c.help()
		return true
	case word == "plain": // it is
		return true
	case word == "screen" && c.full:
		c.end = errFull
		return true
	case !ok && unknown < patience:
		c.say("no such command: type a number, a word, or help\n")
		return false
	case !ok && unknown == patience:
		c.say("quiet now, until a word of the menu comes (help lists them)\n")
		return false
	case !ok:
		return false
	}
	if err := cmd.obey(c.ctx, c, strings.TrimSpace(arg)); err != nil {
		c.say("%s: %v\n", cmd.Word, err)
	}
	return true
}

func (c *session) find(word string) (Command, bool) {
	if n, err := strconv.Atoi(word); err == nil && n >= 1 && n <= len(c.commands) {
		return c.commands[n-1], true
	}
	for _, cmd := range c.commands {
		if cmd.Word == word {
			return cmd, true
		}
	}
	return Command{}, false
}

func (c *session) help() {
	for i, cmd := range c.commands {
		c.say(" %d) %-10s %s\n", i+1, cmd.Word, cmd.Help)
	}
	c.say(" ?) %-10s %s\n", "help", "this list")
}

// readLine reads up to CR, LF or both. Only printable ASCII counts; backspace
// takes one back. Of a line longer than maxLine nothing is kept: half a command
// must not be obeyed.
func (c *session) readLine() (string, error) {
	var line []byte
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return "", err
		}
		afterCR := c.skip
		c.skip = b == '\r'
		switch {
		case b == '\n' && afterCR:
		case b == '\n' || b == '\r':
			if len(line) > maxLine {
				return "(too long)", nil
			}
			return strings.TrimSpace(string(line)), nil
		case b == '\b' || b == 0x7f:
			if len(line) > 0 && len(line) <= maxLine {
				line = line[:len(line)-1]
			}
		case b >= ' ' && b <= '~' && len(line) <= maxLine:
			line = append(line, b)
		}
	}
}
