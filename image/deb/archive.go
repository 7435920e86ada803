package deb

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Archive fetches packages through the host's apt, which checks the archive's
// signatures; what arrives is checked again against the hash we hold.
type Archive struct {
	Cache   string // folder for packages and their unpacked trees
	Release bool   // refuse what is not exactly as locked
	Say     func(format string, args ...any)
}

// ErrGone says that the archive no longer has a locked version.
var ErrGone = errors.New("the archive no longer has the locked version; `make lock` takes the current ones")

// Current returns what the signed index has as the newest version of name.
func (a *Archive) Current(name string) (Package, error) {
	text, err := run("", "apt-cache", "show", "--no-all-versions", name)
	if err != nil {
		if err := a.refresh(); err != nil {
			return Package{}, err
		}
		if text, err = run("", "apt-cache", "show", "--no-all-versions", name); err != nil {
			return Package{}, fmt.Errorf("look up %s: %w", name, err)
		}
	}
	return parsePackage(text)
}

// Latest follows a package such as linux-image-amd64, which is empty and depends
// on the newest kernel, to the package it stands for.
func (a *Archive) Latest(meta string) (string, error) {
	if _, err := a.Current(meta); err != nil { // refreshes the index when it is empty
		return "", err
	}
	text, err := run("", "apt-cache", "show", "--no-all-versions", meta)
	if err != nil {
		return "", fmt.Errorf("look up %s: %w", meta, err)
	}
	name, _, _ := strings.Cut(control(text)["Depends"], " ")
	if name == "" {
		return "", fmt.Errorf("look up %s: it depends on nothing", meta)
	}
	return name, nil
}

func (a *Archive) refresh() error {
	a.Say("reading the archive's index (apt-get update)")
	args := []string{"apt-get", "update", "-qq"}
	if os.Geteuid() != 0 {
		args = append([]string{"sudo"}, args...)
	}
	if _, err := run("", args[0], args[1:]...); err != nil {
		return fmt.Errorf("refresh package index: %w", err)
	}
	return nil
}

// Fetch returns the unpacked tree of a package, at the locked version. When the
// archive has dropped that, a release build gets ErrGone; others get the current
// version, checked against the signed index, and it is said aloud.
func (a *Archive) Fetch(locked Package) (string, Package, error) {
	p := locked
	path, err := a.download(p)
	if err != nil {
		if a.Release {
			return "", p, fmt.Errorf("%s %s: %w (%w)", p.Name, p.Version, ErrGone, err)
		}
		if p, err = a.Current(locked.Name); err != nil {
			return "", p, err
		}
		a.Say("%s: the archive has dropped %s, taking %s (make lock would note it)", p.Name, locked.Version, p.Version)
		if path, err = a.download(p); err != nil {
			return "", p, err
		}
	}
	tree, err := a.unpack(p, path)
	return tree, p, err
}

// download brings a package's file into the cache, unless it is there.
func (a *Archive) download(p Package) (string, error) {
	dir := filepath.Join(a.Cache, "debs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, fmt.Sprintf("%s_%s_%s.deb", p.Name, strings.ReplaceAll(p.Version, ":", "%3a"), p.Arch))
	if sum(path) == p.SHA256 {
		return path, nil
	}
	a.Say("fetching %s %s (%.1f MB)", p.Name, p.Version, float64(p.Size)/1e6)
	if _, err := run(dir, "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", p.Name+"="+p.Version); err != nil {
		return "", fmt.Errorf("download %s %s: %w", p.Name, p.Version, err)
	}
	if got := sum(path); got != p.SHA256 {
		return "", fmt.Errorf("download %s %s: got sha256 %.12s…, want %.12s…", p.Name, p.Version, got, p.SHA256)
	}
	return path, nil
}

// Source is the name of the source package that p, once fetched, was built from.
func (a *Archive) Source(p Package) (string, error) {
	path, err := a.download(p)
	if err != nil {
		return "", err
	}
	out, err := run("", "dpkg-deb", "-f", path, "Source")
	if err != nil {
		return "", fmt.Errorf("source of %s: %w", p.Name, err)
	}
	name, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ") // "name (version)", empty when it is the same
	if name == "" {
		return p.Name, nil
	}
	return name, nil
}

// unpack makes the tree of a package, once. Stop in the middle: a stray .tmp.
func (a *Archive) unpack(p Package, path string) (string, error) {
	tree := filepath.Join(a.Cache, "trees", p.Name+"_"+p.SHA256[:16])
	if _, err := os.Stat(tree); err == nil {
		return tree, nil
	}
	tmp := tree + ".tmp"
	if err := os.RemoveAll(tmp); err != nil {
		return "", err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", err
	}
	if _, err := run("", "dpkg-deb", "-x", path, tmp); err != nil {
		return "", fmt.Errorf("unpack %s: %w", p.Name, err)
	}
	if err := os.Rename(tmp, tree); err != nil {
		return "", err
	}
	return tree, nil
}

// sum is the SHA-256 of a file in hex, empty when it can't be read.
func sum(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

func run(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %.300s", name, strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out, nil
}
