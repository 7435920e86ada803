// Command trustee is the trusted third party of boxes' keys. It runs at the hub, not
// on the box, and keeps one secret of its own, in a file or in a TPM, from which it
// makes each domain's keys for the boxes on the domain's list.
//
//	trustee serve  -dir DIR -listen 10.99.0.1:8460 -cert C -key K -clients CA [-tpm /dev/tpmrm0] [-hold 720h]
//	trustee enrol  -at URL -cert C -key K -ca CA -name T-1-a -role box -site T-1 [-wrap FINGERPRINT]
//	trustee revoke … -name T-1-a -why stolen
//	trustee share  … -domain T-1/consults -with T-2 [-may read]
//	trustee rotate|shred … -domain T-1/uploads
//	trustee show   …
//
// All but serve ask a trustee that runs, with the certificate of a member: of ops to
// enrol and revoke, of the site's manager for its domains (docs/vault.md).
//
//go:debug multipathtcp=0
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "trustee:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("got no command, want serve, enrol, revoke, share, rotate, shred or show")
	}
	if args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	return ask(ctx, args[0], args[1:], os.Stdout)
}
