package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"clinicgate/firmware/release"
	"clinicgate/image/archive"
)

// archiveCommand packs a release and the depot's metadata, so that what comes out
// can be checked by the signatures of its day.
func archiveCommand(args []string) error {
	set := flag.NewFlagSet("archive", flag.ExitOnError)
	board := set.String("board", "qemu-x86_64", "`board` it was built for")
	version := set.String("version", "", "`release`")
	dir := set.String("depot", "", "depot `folder`")
	to := set.String("to", "", "age `recipients` (age1...), by commas")
	out := set.String("o", "", "the archive (`file`)")
	_ = set.Parse(args)
	if *dir == "" || *to == "" || *out == "" || *version == "" {
		return errors.New("want: image archive -version V -depot FOLDER -to RECIPIENT -o FILE")
	}
	if err := errors.Join(release.Name("board", *board), release.Name("version", *version)); err != nil {
		return err
	}
	recipients, err := age.ParseRecipients(strings.NewReader(strings.ReplaceAll(*to, ",", "\n")))
	if err != nil {
		return err
	}
	names, err := filesOf(*dir, "metadata", filepath.Join(release.TargetsFolder, *board, *version))
	if err != nil {
		return err
	}
	f, err := os.OpenFile(*out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = archive.Write(f, *dir, names, recipients)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(*out))
	}
	say("%d files of release %s in %s", len(names), *version, *out)
	return nil
}

// filesOf lists the plain files of some folders, and the small targets of the
// release, which lie beside by their hash.
func filesOf(dir string, folders ...string) ([]string, error) {
	var names []string
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(dir, folder, "*"))
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("nothing in %s", filepath.Join(dir, folder))
		}
		for _, path := range found {
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return names, nil
}

func unarchiveCommand(args []string) error {
	set := flag.NewFlagSet("unarchive", flag.ExitOnError)
	identity := set.String("identity", "", "age identity (`file`)")
	out := set.String("o", "", "`folder` to make")
	_ = set.Parse(args)
	if *identity == "" || *out == "" || set.NArg() != 1 {
		return errors.New("want: image unarchive -identity FILE -o FOLDER FILE")
	}
	keys, err := os.Open(*identity)
	if err != nil {
		return err
	}
	defer keys.Close()
	who, err := age.ParseIdentities(keys)
	if err != nil {
		return err
	}
	f, err := os.Open(set.Arg(0))
	if err != nil {
		return err
	}
	defer f.Close()
	return archive.Read(f, *out, who...)
}
