// Lab is the clinic in a box: it builds the world around a gateway, boots the
// gateway in it and plays the morning. Started with
//
//	lab run [-gateway=image|namespace] [-firmware] [-pair]   build the clinic and play the morning
//	lab chaos [-gateway=image|namespace] [-n N] [-seed N]    cut the box's power N times under load
//	lab ctl COMMAND...                   ask the running lab: cut isp-a, card out...
//	lab stop                             end it
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"clinicgate/image/lab/clinic"
	"clinicgate/image/lab/control"
)

func main() { os.Exit(logic(os.Args[1:], os.Stdout, os.Stderr)) }

const usage = `usage: lab run [-gateway=image|namespace] [-firmware] [-pair]
       lab chaos [-gateway=image|namespace] [-n N] [-seed N]
       lab ctl COMMAND...
       lab stop
`

func logic(args []string, out, errOut io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if len(args) == 0 {
		fmt.Fprint(errOut, usage)
		return 2
	}
	var err error
	switch args[0] {
	case "run":
		err = run(ctx, args[1:], out)
	case "chaos":
		err = runChaos(ctx, args[1:], out)
	case "ctl":
		err = ask(args[1:], out)
	case "stop":
		err = ask([]string{"stop"}, out)
	default:
		fmt.Fprint(errOut, usage)
		return 2
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 2
	case err != nil:
		fmt.Fprintf(errOut, "lab: %v\n", err)
		return 1
	}
	return 0
}

// name of the lab that a person runs; tests have their own.
const name = "run"

func socket(root string) string { return filepath.Join(root, "build/lab", name, "ctl.sock") }

func ask(words []string, out io.Writer) error {
	root, err := clinic.Root()
	if err != nil {
		return err
	}
	text, err := control.Call(socket(root), words...)
	fmt.Fprint(out, text)
	return err
}

// options of lab run.
type options struct {
	gateway  string
	image    string // folder of the built image
	firmware bool   // the image starts through UEFI
	pair     bool   // two boxes
	outer    bool   // ... and their address at provider B
	ci       bool   // exit with the morning's verdict
}

func parse(args []string) (options, error) {
	o := options{ci: os.Getenv("CI") == "true"}
	fs := flag.NewFlagSet("lab run", flag.ContinueOnError)
	fs.StringVar(&o.gateway, "gateway", "image", "the box: `image` in QEMU, or its programs in a namespace")
	fs.BoolVar(&o.firmware, "firmware", false, "start the image through UEFI, as a real box does")
	fs.BoolVar(&o.pair, "pair", false, "two boxes, and a morning in which one loses its power")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.gateway != "image" && o.gateway != "namespace" {
		return o, fmt.Errorf("-gateway: got %q, want image or namespace", o.gateway)
	}
	return o, nil
}
