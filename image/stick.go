package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"clinicgate/firmware/stick"
	"clinicgate/image/disk"
)

// stickMiB is the size of a site stick's image; a site is a few dozen KiB.
const stickMiB = 8

func stickCommand(args []string) error {
	set := flag.NewFlagSet("stick", flag.ExitOnError)
	out := set.String("o", "", "image `file` to make")
	_ = set.Parse(args)
	if *out == "" || set.NArg() != 1 {
		return errors.New("want: image stick -o FILE FOLDER")
	}
	return makeStick(*out, set.Arg(0))
}

// makeStick makes the image of a site stick from a folder with site.toml, anchors/
// and secrets/. Other files in it are left out.
func makeStick(out, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "site.toml")); err != nil {
		return err
	}
	files := map[string]string{"site.toml": filepath.Join(dir, "site.toml")}
	for _, part := range []string{"anchors", "secrets"} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(dir, path)
			files[filepath.ToSlash(rel)] = path
			return err
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", part, err)
		}
	}
	return disk.FAT(out, stick.Label, stickMiB, files)
}
