package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/bundle"
	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/osrelease"
	"clinicgate/firmware/status"
)

// supportLines is how much of each program's log a bundle has.
const supportLines = 2000

// programs are asked for their metrics and their logs.
func programs() []string {
	return []string{"init", "netd", "failoverd", "cardauth", "syncd", "update", "panel", "telemetry", "pcscd", "console"}
}

func supportCommand(o *options) *cobra.Command {
	support := &cobra.Command{Use: "support", Short: "what those who help from afar need", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	var file, key string
	cmd := &cobra.Command{
		Use: "bundle", Short: "pack states, logs and settings, encrypted to cloud ops' key, without patient data", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				file = filepath.Join(os.TempDir(), bundleName(o, time.Now()))
			}
			return writeSupport(cmd.Context(), o, cmd.OutOrStdout(), file, key)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file`; - is the standard output; unset: one in the folder for temporary files")
	cmd.Flags().StringVar(&key, "to", "", "an age public `key` instead of the site file's site.support")
	support.AddCommand(cmd)
	return support
}

// bundleName tells boxes and times apart.
func bundleName(o *options, now time.Time) string {
	code := "box"
	if id, why := collect.Identity(o.source.Site); why == "" {
		code = strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' {
				return r
			}
			return -1
		}, id.Code)
	}
	return fmt.Sprintf("support-%s-%s.tar.gz.age", code, now.UTC().Format("20060102T150405Z"))
}

// writeSupport leaves a whole bundle in file, or none.
func writeSupport(ctx context.Context, o *options, out io.Writer, file, key string) error {
	if file == stdin {
		return packSupport(ctx, o, out, key)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = packSupport(ctx, o, f, key)
	fi, serr := f.Stat()
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	if o.json {
		return printJSON(out, struct {
			V     int    `json:"v"`
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
		}{1, file, fi.Size()})
	}
	_, err = fmt.Fprintf(out, "%d KB in %s; only the holder of the key can read it\n", fi.Size()>>10, file)
	return err
}

// packSupport writes a bundle. What can't be had is noted in it: a box in trouble is
// what bundles are for.
func packSupport(ctx context.Context, o *options, out io.Writer, key string) error {
	l := o.look()
	if key == "" {
		if key = l.Box.Site.Support; key == "" {
			return fmt.Errorf("%w: nobody's key: want site.support in the site file, or --to KEY", errUsage)
		}
	}
	to, err := bundle.Recipient(key)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	b, err := bundle.New(out, to, bundle.Manifest{Site: l.Box.Site.Code, Release: osrelease.Version(), Made: time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	add := func(name string, text []byte, err error) error {
		if err != nil {
			b.Lack(name, err)
			return nil
		}
		return b.Add(name, text)
	}
	said := []error{
		add("status.txt", bundle.Text([]byte(status.Screen(l.Box, l.At, width, 0))), nil),
		add("doctor.txt", bundle.Text([]byte(status.Doctor(l.Box, l.At, width))), nil),
	}
	for name, text := range l.Files {
		said = append(said, add("state/"+name, bundle.JSON(text), nil))
	}
	site, err := readSite(o.source.Site, nil)
	said = append(said, add("site.toml", bundle.Site(site), err))
	history, err := o.client().Site(ctx, "", nil, nil)
	said = append(said, add("site-history.json", bundle.JSON(history), err))
	for _, p := range programs() {
		text, err := recent(ctx, o, p)
		said = append(said, add("log/"+p+".log", text, err))
		metrics, err := ask.Peer{Run: o.source.Run, Name: p, Limit: maxMetrics, Time: 5 * time.Second}.Do(ctx, http.MethodGet, "/metrics", nil)
		if err == nil {
			said = append(said, b.Add("metrics/"+p+".txt", bundle.Text(metrics)))
		}
	}
	tables, err := ask.Peer{Run: o.source.Run, Name: "netd", Limit: maxMetrics, Time: 10 * time.Second}.Do(ctx, http.MethodGet, "/tables", nil)
	said = append(said, add("net.txt", bundle.Text(tables), err))
	kernel, err := o.client().Kernel(ctx)
	said = append(said, add("kernel.txt", bundle.Text(kernel), err))
	return errors.Join(append(said, b.Close())...)
}

// maxMetrics bounds what a program says of itself.
const maxMetrics = 1 << 20

// recent is the end of a program's log; without one there is nothing to lack.
func recent(ctx context.Context, o *options, program string) ([]byte, error) {
	var text bytes.Buffer
	err := o.client().Log(ctx, program, supportLines, false, func(line string) {
		text.WriteString(line)
		text.WriteByte('\n')
	})
	return bundle.Text(text.Bytes()), err
}

// openCommand is cloud ops' side of a bundle.
func (o *opsOptions) openCommand() *cobra.Command {
	var dir, key string
	cmd := &cobra.Command{
		Use: "open BUNDLE", Short: "unpack a support bundle with the private key it was made for", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if key == "" {
				return fmt.Errorf("%w: --identity: want the file of the private key", errUsage)
			}
			secret, err := os.ReadFile(key)
			if err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if dir == "" {
				dir = strings.TrimSuffix(filepath.Base(args[0]), ".tar.gz.age")
			}
			list, err := bundle.Open(f, string(secret), dir)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), list)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s, release %s, %s: %d files in %s\n", status.Plain(list.Site), status.Plain(list.Release), list.Made.Format(time.DateTime), len(list.Entries), dir)
			for _, lack := range list.Lacks {
				fmt.Fprintf(cmd.OutOrStdout(), "lacks %s\n", status.Plain(lack))
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "", "a new `folder`; unset: named as the bundle")
	cmd.Flags().StringVarP(&key, "identity", "i", "", "`file` of the private key (age-keygen)")
	return cmd
}
