package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"

	"clinicgate/image/lab/clinic"
)

// runChaos is lab chaos. In QEMU a cut takes the guest's memory with it: what it had
// not flushed is gone. In a namespace it is kill -9 of every program: what was
// written is there, so it proves less, and is quick.
func runChaos(ctx context.Context, args []string, out io.Writer) error {
	var o options
	fs := flag.NewFlagSet("lab chaos", flag.ContinueOnError)
	fs.StringVar(&o.gateway, "gateway", "image", "the box: `image` in QEMU, or its programs in a namespace")
	n := fs.Int("n", 5, "how often its power is cut")
	seed := fs.Uint64("seed", rand.Uint64(), "of the moments")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.gateway != "image" && o.gateway != "namespace" || *n < 1 {
		return fmt.Errorf("-gateway %q -n %d: want image or namespace, and at least 1", o.gateway, *n)
	}
	root, err := clinic.Root()
	if err != nil {
		return err
	}
	if err := needs(root); err != nil {
		return err
	}
	l, err := build(ctx, root, "chaos", o, out)
	if err != nil {
		return err
	}
	verdict := l.morning.Chaos(ctx, *n, *seed)
	if err := l.Close(); err != nil {
		return errors.Join(verdict, err)
	}
	if verdict != nil {
		return fmt.Errorf("chaos: %w; logs are in %s", verdict, filepath.Join(l.clinic.Dir, "log"))
	}
	return nil
}
