package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"slices"

	"clinicgate/syncd/vault/deed"
	"clinicgate/syncd/vault/remote"
)

// asks are the commands that ask a trustee, and what each must say.
var asks = []struct {
	what  string
	wants []string
}{
	{"enrol", []string{"name", "role"}},
	{"revoke", []string{"name", "why"}},
	{"share", []string{"domain", "with"}},
	{"unshare", []string{"domain", "with"}},
	{"rotate", []string{"domain"}},
	{"shred", []string{"domain"}},
	{"show", nil},
}

// ask puts one order to a trustee that runs and prints what it says.
func ask(ctx context.Context, what string, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("trustee "+what, flag.ContinueOnError)
	at := flags.String("at", "", "`URL` of the trustee")
	cert := flags.String("cert", "", "`file` with your certificate")
	key := flags.String("key", "", "`file` with its key")
	ca := flags.String("ca", "", "`file` with the CA of the trustee's certificate")
	var o order
	flags.StringVar(&o.Name, "name", "", "common `name` in the member's certificate")
	flags.StringVar(&o.Role, "role", "", "ops, manager or box")
	flags.StringVar(&o.Site, "site", "", "`code` of the member's site")
	flags.StringVar(&o.Wrap, "wrap", "", "`fingerprint` of the box's wrapping key, as gatectl keys shows it; without: of the key it asks with first")
	flags.StringVar(&o.Why, "why", "", "`reason`, such as stolen")
	flags.StringVar(&o.Domain, "domain", "", "`SITE/NAME`")
	flags.StringVar(&o.Site, "with", "", "`code` of the site to share with")
	flags.StringVar(&o.May, "may", "", "read or write (read)")
	i := slices.IndexFunc(asks, func(a struct {
		what  string
		wants []string
	}) bool {
		return a.what == what
	})
	if i < 0 {
		return fmt.Errorf("got command %q, want serve, enrol, revoke, share, unshare, rotate, shred or show", what)
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, name := range append([]string{"at", "cert", "key", "ca"}, asks[i].wants...) {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("-%s is missing", name)
		}
	}
	base, err := url.Parse(*at)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return fmt.Errorf("-at: got %q, want https://HOST:PORT", *at)
	}
	switch {
	case what == "unshare":
		what, o.May = "share", ""
	case what == "share" && o.May == "":
		o.May = deed.Read
	}
	var answer json.RawMessage
	if err := remote.New(base, *ca, *cert, *key).Do(ctx, what, o, &answer); err != nil {
		return err
	}
	if what == "show" {
		_, err = fmt.Fprintf(out, "%s\n", answer)
	}
	return err
}
