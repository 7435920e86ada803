// Agent serves a room's card reader to the clinic's gateway from the workstation it
// is plugged into. The PIN is typed at this workstation, or on the reader itself,
// and never leaves it.
//
//go:debug multipathtcp=0
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/cardauth/agent/enrol"
	"clinicgate/cardauth/agent/room"
	"clinicgate/cardauth/pcsc"
)

const usage = `usage:
  agent enrol -gateway HOST:PORT [-state DIR]      type the code that gatectl card enroll shows
  agent run [-state DIR] [-reader NAME] [-askpass PROGRAM]
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := program(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// options are the program's flags.
type options struct {
	gateway, state, reader, askpass string
}

// program is main with its world as arguments.
func program(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return 64
	}
	var o options
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	flags.SetOutput(errs)
	flags.StringVar(&o.gateway, "gateway", "gateway.internal:8445", "the clinic's gateway, `host:port`")
	flags.StringVar(&o.state, "state", defaultState(), "`folder` for this workstation's key")
	flags.StringVar(&o.reader, "reader", "", "start of the reader's `name`; without it the first reader serves")
	flags.StringVar(&o.askpass, "askpass", "", "`program` that asks for the PIN and prints it; the question is its argument. Without it the terminal does")
	if err := flags.Parse(args[1:]); err != nil {
		return 64
	}
	if err := forbidDumps(); err != nil { // a PIN passes through here
		fmt.Fprintln(errs, "agent:", err)
		return 2
	}
	var err error
	switch args[0] {
	case "enrol":
		err = enrolHere(ctx, o, in, out)
	case "run":
		err = run(ctx, o, slog.New(slog.NewTextHandler(errs, nil)))
	default:
		fmt.Fprint(errs, usage)
		return 64
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(errs, "agent:", err)
		return 2
	}
	return 0
}

func defaultState() string {
	if dir, err := os.UserConfigDir(); err == nil {
		return filepath.Join(dir, "clinicgate-agent")
	}
	return "clinicgate-agent"
}

// enrolHere makes this workstation's key and has the gateway certify it.
func enrolHere(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	fmt.Fprint(out, "Code shown by gatectl card enroll: ")
	typed, err := bufio.NewReader(io.LimitReader(in, 100)).ReadString('\n')
	if err != nil && typed == "" {
		return fmt.Errorf("read the code: %w", err)
	}
	code, err := enrol.ParseCode(typed)
	if err != nil {
		return err
	}
	id, err := room.Enrol(ctx, o.gateway, code)
	if err != nil {
		return err
	}
	if err := id.Save(o.state); err != nil {
		return err
	}
	fmt.Fprintf(out, "This workstation serves the card reader of room %s.\n", id.Room)
	return nil
}

// Pauses between calls to the gateway.
const (
	again   = 250 * time.Millisecond
	longest = 5 * time.Second
)

// run serves the reader until ctx ends, calling again whenever the line breaks.
func run(ctx context.Context, o options, log *slog.Logger) error {
	id, err := room.Load(o.state)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("this workstation is not enrolled: %w; run agent enrol", err)
	}
	if err != nil {
		return err
	}
	var ask room.Asker = terminal{}
	if o.askpass != "" {
		ask = askpass(o.askpass)
	}
	s := &room.Station{Room: id.Room, Readers: readers{}, Only: o.reader, Asker: ask, Log: log}
	pause := again
	for ctx.Err() == nil {
		start := time.Now()
		conn, err := id.Dial(ctx)
		if err == nil {
			log.Info("connected", "gateway", id.Gateway, "room", id.Room)
			err = s.Serve(ctx, conn)
			conn.Close()
		}
		if ctx.Err() != nil {
			break
		}
		log.Warn("not connected", "gateway", id.Gateway, "err", plain(err))
		if time.Since(start) > 10*time.Second {
			pause = again
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longest)
	}
	return nil
}

// plain says what a person can act on.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return strings.TrimSpace(op.Op + ": " + op.Err.Error())
	}
	return err.Error()
}

// readers is the workstation's PC/SC.
type readers struct{}

// Watch follows the readers.
func (readers) Watch(ctx context.Context, changed func([]pcsc.State)) error {
	return pcsc.Watch(ctx, changed)
}

// Connect holds a card.
func (readers) Connect(reader string) (room.Link, error) {
	c, err := pcsc.Connect(reader)
	if err != nil {
		return nil, err // not a nil *Card in a Link
	}
	return c, nil
}
