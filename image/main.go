// Command image builds what a box boots from, on the workstation: the root
// filesystem, the unified kernel image and the disk for a board, and the site
// stick for a clinic. It never runs on a box.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const usage = `usage:
  image build [-board NAME] [-o FOLDER] [-version V] [-data MIB] [-root FILE] [-sign FOLDER] [-release]
  image keys -o FOLDER -name NAME   make keys for Secure Boot: PK, KEK, db
  image stage [-board NAME] [-version V] -depot FOLDER FOLDER
                                    put a build's images into a depot, for cloud ops to sign
  image lock  [-board NAME]         note the archive's current packages in image/lock.json
  image vulns -bom FILE [-debian FILE] [-go FILE] [-o FILE]
                                    known vulnerabilities of a build's parts
  image archive [-board NAME] -version V -depot FOLDER -to RECIPIENT[,...] -o FILE
                                    a release for cold storage, encrypted (age)
  image unarchive -identity FILE -o FOLDER FILE
                                    take it out again, checked
  image stick -o FILE FOLDER        make a site stick of site.toml, anchors/ and secrets/
`

func main() {
	commands := map[string]func([]string) error{"build": buildCommand, "lock": lockCommand, "stick": stickCommand, "stage": stageCommand,
		"keys": keysCommand, "vulns": vulnsCommand, "archive": archiveCommand, "unarchive": unarchiveCommand}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "image %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

func buildCommand(args []string) error {
	o := options{say: say}
	fs := flag.NewFlagSet("build", flag.ExitOnError)
	fs.StringVar(&o.board, "board", "qemu-x86_64", "`board` to build for")
	fs.StringVar(&o.out, "o", "", "output `folder` (default build/image/BOARD)")
	fs.StringVar(&o.version, "version", "dev", "`release` to call it")
	fs.IntVar(&o.dataMiB, "data", 0, "size of the data partition in `MiB` (default: the board's)")
	fs.StringVar(&o.root, "root", "", "TUF root `file` the image trusts for updates (default: this workstation's own depot's)")
	fs.StringVar(&o.sign, "sign", "", "`folder` of db.pem and db.cer to sign kernel images with (default: this workstation's own test key)")
	fs.BoolVar(&o.release, "release", false, "refuse whatever is not exactly as locked")
	_ = fs.Parse(args) // exits
	_, err := build(o)
	return err
}

func lockCommand(args []string) error {
	fs := flag.NewFlagSet("lock", flag.ExitOnError)
	board := fs.String("board", "qemu-x86_64", "`board` whose kernel to take")
	_ = fs.Parse(args)
	return lock(*board, say)
}

func say(format string, args ...any) { fmt.Printf("image: "+format+"\n", args...) }

// moduleRoot is the folder of go.mod, at or above the working directory.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		if text, err := os.ReadFile(filepath.Join(d, "go.mod")); err == nil && strings.HasPrefix(string(text), "module clinicgate\n") {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is not inside clinicgate's source", dir)
		}
	}
}
