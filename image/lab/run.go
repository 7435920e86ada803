package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/relay"
	"clinicgate/image/lab/box"
	"clinicgate/image/lab/clinic"
	"clinicgate/image/lab/control"
	"clinicgate/image/lab/ehr"
	"clinicgate/image/lab/morning"
)

// gateway is the box of a lab.
type gateway interface {
	morning.Box
	io.Closer
}

// A scene is a clinic with a box in it.
type scene struct {
	clinic  *clinic.Clinic
	boxes   []gateway       // one, or two
	slots   []*pivcard.Slot // of their readers
	morning *morning.Morning
}

// build makes the clinic and the box, switched off.
func build(ctx context.Context, root, name string, o options, out io.Writer) (*scene, error) {
	say := func(format string, args ...any) { fmt.Fprintf(out, "lab: "+format+"\n", args...) }
	say("build the programs, unless they are built")
	bin, err := clinic.Build(ctx, root)
	if err != nil {
		return nil, err
	}
	cfg := clinic.Config{Root: root, Name: name, Bin: bin, Say: say, Pair: o.pair, Outer: o.outer}
	if o.gateway == "namespace" {
		cfg.Reader = box.VirtualReader
	} else {
		cfg.Reader, cfg.Slow = box.QEMUReader, true
		say("build the image, unless it is built")
		if o.image, err = clinic.BuildImage(ctx, root); err != nil {
			return nil, err
		}
	}
	c, err := clinic.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l := &scene{clinic: c}
	for n := 0; n == 0 || o.pair && n == 1; n++ {
		if err := l.place(o, n); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	l.morning = &morning.Morning{Clinic: c, Box: l.boxes[0], Slot: l.slots[0], Out: out}
	if o.pair {
		l.morning.Second = &morning.Second{Box: l.boxes[1], Slot: l.slots[1]}
	}
	return l, nil
}

// place puts box n where it belongs.
func (l *scene) place(o options, n int) error {
	if o.gateway == "namespace" {
		b, err := box.NewNamespace(l.clinic, n)
		if err == nil {
			l.boxes, l.slots = append(l.boxes, b), append(l.slots, b.Slot)
		}
		return err
	}
	b, err := box.NewImage(l.clinic, n, o.image, o.firmware)
	if err == nil {
		l.boxes, l.slots = append(l.boxes, b), append(l.slots, b.Slot)
	}
	return err
}

func (l *scene) Close() error {
	var errs []error
	for _, b := range l.boxes {
		errs = append(errs, b.Close())
	}
	return errors.Join(append(errs, l.clinic.Close())...)
}

// run is lab run.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	root, err := clinic.Root()
	if err != nil {
		return err
	}
	if err := needs(root); err != nil {
		return err
	}
	l, err := build(ctx, root, name, o, out)
	if err != nil {
		return err
	}
	verdict := l.morning.Play(ctx)
	if !o.ci && ctx.Err() == nil {
		if verdict != nil {
			fmt.Fprintf(out, "the morning FAILED: %v\n", verdict)
		}
		verdict = errors.Join(verdict, l.stay(ctx, out))
	}
	if err := l.Close(); err != nil {
		return errors.Join(verdict, err)
	}
	if verdict != nil {
		return fmt.Errorf("the morning failed: %w; logs are in %s", verdict, filepath.Join(l.clinic.Dir, "log"))
	}
	return nil
}

// needs says at once all that is missing.
func needs(root string) error {
	var errs []error
	for _, need := range clinic.Needs(root) {
		errs = append(errs, need())
	}
	return errors.Join(errs...)
}

// stay leaves the lab up until it is told to stop.
func (l *scene) stay(ctx context.Context, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	fmt.Fprintf(out, "\nThe clinic stays up. In another terminal:\n")
	for _, line := range l.hints() {
		fmt.Fprintf(out, "  %s\n", line)
	}
	return control.Serve(ctx, socket(l.clinic.Root), l.commands(stop))
}

// hints tell how to look around.
func (l *scene) hints() []string {
	ns := "sudo ip netns exec cg-" + l.clinic.Name + "-"
	return []string{
		"go run ./image/lab ctl status        what the box says of itself",
		"go run ./image/lab ctl console       how to take the box's serial console",
		"go run ./image/lab ctl cut isp-a     cut a link (isp-a, isp-b, lan; of a pair also ha, isp-a-2...); restore isp-a",
		"go run ./image/lab ctl help          everything the lab can do",
		ns + "ws ping 10.20.0.1      a shell command on the workstation",
		"ls " + filepath.Join(l.clinic.Dir, "log") + "     what every program said",
		"make stop                            end it (or Ctrl-C here)",
	}
}

func (l *scene) commands(stop func()) []control.Command {
	cable := func(do func(*relay.Link, []string) error) func(context.Context, []string) (string, error) {
		return func(_ context.Context, args []string) (string, error) {
			if len(args) == 0 || l.clinic.Cables[args[0]] == nil {
				return "", fmt.Errorf("want a cable: %s", strings.Join(slices.Sorted(maps.Keys(l.clinic.Cables)), ", "))
			}
			return "", do(l.clinic.Cables[args[0]], args[1:])
		}
	}
	return []control.Command{
		{Name: "status", Args: "[2]", Help: "what gatectl status shows; 2: on the second box", Run: func(ctx context.Context, args []string) (string, error) {
			n, _, err := l.number(args)
			if err != nil {
				return "", err
			}
			return l.boxes[n].Status(ctx)
		}},
		{Name: "console", Args: "[2]", Help: "hands the box's serial console to you", Run: l.console},
		{Name: "cut", Args: "CABLE", Help: "it dies silently", Run: cable(func(c *relay.Link, _ []string) error { c.Cut(); return nil })},
		{Name: "restore", Args: "CABLE", Help: "it is good again", Run: cable(func(c *relay.Link, _ []string) error { c.Restore(); return nil })},
		{Name: "shape", Args: "CABLE delay=50ms loss=0.05 ...", Help: "delay, jitter, loss (0 to 1), rate (bit/s)", Run: cable(shape)},
		{Name: "card", Args: "in|out [2]", Help: "the doctor's card", Run: l.card},
		{Name: "power", Args: "cut|on [2]", Help: "the box's", Run: l.power},
		{Name: "ehr", Args: "down|up", Help: "the cloud EHR", Run: l.ehr},
		{Name: "stop", Help: "end the lab", Run: func(context.Context, []string) (string, error) { stop(); return "ending", nil }},
	}
}

// shape reads the faults a cable should have.
func shape(c *relay.Link, args []string) error {
	var f relay.Faults
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		var err error
		switch key {
		case "delay":
			f.Delay, err = time.ParseDuration(value)
		case "jitter":
			f.Jitter, err = time.ParseDuration(value)
		case "loss":
			f.Loss, err = strconv.ParseFloat(value, 64)
		case "rate":
			f.Rate, err = strconv.ParseInt(value, 10, 64)
		default:
			err = fmt.Errorf("got %q, want delay, jitter, loss or rate", key)
		}
		if err != nil {
			return err
		}
	}
	c.Set(f)
	return nil
}

// number takes the box's number, 1 or 2, off the end of a command's words.
func (l *scene) number(args []string) (n int, rest []string, err error) {
	if len(args) == 0 {
		return 0, args, nil
	}
	n, err = strconv.Atoi(args[len(args)-1])
	if err != nil {
		return 0, args, nil // another word
	}
	if n < 1 || n > len(l.boxes) {
		return 0, nil, fmt.Errorf("got box %d, there are %d", n, len(l.boxes))
	}
	return n - 1, args[:len(args)-1], nil
}

func (l *scene) console(_ context.Context, args []string) (string, error) {
	n, _, err := l.number(args)
	if err != nil {
		return "", err
	}
	b, ok := l.boxes[n].(*box.Image)
	if !ok {
		return "", errors.New("a box in a namespace has no serial console; the image has one")
	}
	return b.Console()
}

func (l *scene) card(_ context.Context, args []string) (string, error) {
	n, args, err := l.number(args)
	if err != nil {
		return "", err
	}
	switch strings.Join(args, " ") {
	case "in":
		return "PIN " + morning.PIN, l.morning.InsertCard(l.slots[n])
	case "out":
		l.slots[n].Remove()
		return "", nil
	}
	return "", errors.New("want in or out")
}

func (l *scene) power(ctx context.Context, args []string) (string, error) {
	n, args, err := l.number(args)
	if err != nil {
		return "", err
	}
	switch strings.Join(args, " ") {
	case "cut":
		return "", l.boxes[n].CutPower()
	case "on":
		return "", l.boxes[n].Boot(ctx)
	}
	return "", errors.New("want cut or on")
}

func (l *scene) ehr(_ context.Context, args []string) (string, error) {
	switch strings.Join(args, " ") {
	case "down":
		return "", l.clinic.EHR.Play(ehr.Faults{Down: true})
	case "up":
		return "", l.clinic.EHR.Play(ehr.Faults{})
	}
	return "", errors.New("want down or up")
}
