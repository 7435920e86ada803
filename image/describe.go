package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"clinicgate/image/bom"
)

// documents lie beside a build's images, and beside a release in the depot.
var documents = []string{"bom.json", "licences.txt", "provenance.json"}

// describe writes the build's documents: what is in it, under which licences, and
// where it came from.
func (b *builder) describe() error {
	image := bom.Image{Name: "clinicgate " + b.hw.Name, Version: b.version}
	texts := map[string]string{}
	debian, err := b.debianParts(texts)
	if err != nil {
		return err
	}
	modules, err := b.goParts(texts)
	if err != nil {
		return err
	}
	image.Parts = append(debian, modules...)
	for _, p := range image.Parts {
		if len(p.Licences) > 0 {
			continue
		}
		if b.release {
			return fmt.Errorf("%s %s: no licence found", p.Name, p.Version)
		}
		b.say("%s %s: no licence found", p.Name, p.Version)
	}
	how, err := b.how(image)
	if err != nil {
		return err
	}
	return errors.Join(
		writeDocument(filepath.Join(b.out, "bom.json"), image.Write),
		writeDocument(filepath.Join(b.out, "licences.txt"), func(w io.Writer) error { return image.WriteLicences(w, texts) }),
		writeDocument(filepath.Join(b.out, "provenance.json"), how.Write))
}

func writeDocument(path string, write func(io.Writer) error) error {
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// debianParts are the packages of the lock.
func (b *builder) debianParts(texts map[string]string) ([]bom.Part, error) {
	var all []bom.Part
	for _, p := range b.packages {
		source, err := b.archive.Source(p)
		if err != nil {
			return nil, err
		}
		part := bom.Part{Name: p.Name, Version: p.Version, PURL: bom.DebianURL(p.Name, p.Version, p.Arch), SHA256: p.SHA256, Source: source}
		text, err := b.copyright(p.Name)
		if err != nil {
			return nil, err
		}
		texts[part.PURL], part.Licences = text, bom.DebianLicences(text)
		all = append(all, part)
	}
	return all, nil
}

// copyright is a package's copyright file. A package of the same source may hold
// it, with a link from its own folder.
func (b *builder) copyright(name string) (string, error) {
	const docs = "usr/share/doc"
	dir, err := os.Readlink(filepath.Join(b.trees[name], docs, name))
	if err != nil {
		dir = name
	}
	for _, holder := range []string{name, filepath.Base(dir)} {
		text, err := os.ReadFile(filepath.Join(b.trees[holder], docs, filepath.Base(dir), "copyright"))
		if err == nil {
			return string(text), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

// goParts are the modules in our programs, and Go's own library.
func (b *builder) goParts(texts map[string]string) ([]bom.Part, error) {
	cache, err := b.goEnv("GOMODCACHE")
	if err != nil {
		return nil, err
	}
	root, err := b.goEnv("GOROOT")
	if err != nil {
		return nil, err
	}
	found := map[string]*bom.Part{}
	add := func(path, version, sum, dir, program string) error {
		url := bom.ModuleURL(path, version)
		p := found[url]
		if p == nil {
			text, err := licenceText(dir)
			if err != nil {
				return err
			}
			p = &bom.Part{Name: path, Version: version, PURL: url, Sum: sum}
			if texts[url] = text; bom.Licence(text) != "" {
				p.Licences = []string{bom.Licence(text)}
			}
			found[url] = p
		}
		p.In = append(p.In, program)
		return nil
	}
	for _, p := range programs {
		info, err := buildinfo.ReadFile(filepath.Join(b.work, "bin", p.name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // said at compile
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p.name, err)
		}
		if err := add("std", strings.TrimPrefix(info.GoVersion, "go"), "", root, p.name); err != nil {
			return nil, err
		}
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			if err := add(m.Path, m.Version, m.Sum, filepath.Join(cache, escaped(m.Path)+"@"+escaped(m.Version)), p.name); err != nil {
				return nil, err
			}
		}
	}
	var all []bom.Part
	for _, p := range found {
		all = append(all, *p)
	}
	return all, nil
}

func (b *builder) goEnv(name string) (string, error) {
	cmd := exec.Command("go", "env", name)
	cmd.Dir = b.source
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}

// escaped is a module's path or version as the module cache spells it.
func escaped(text string) string {
	var out strings.Builder
	for _, r := range text {
		if unicode.IsUpper(r) {
			out.WriteByte('!')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}

// licenceText is the licence files of a module's folder.
func licenceText(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("licence: %w", err)
	}
	var out strings.Builder
	for _, e := range entries {
		name := strings.ToUpper(e.Name())
		if e.IsDir() || !slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", fmt.Errorf("licence: %w", err)
		}
		out.Write(text)
		out.WriteByte('\n')
	}
	return out.String(), nil
}

// how says from what source and with which tools the files were made.
func (b *builder) how(image bom.Image) (bom.Build, error) {
	how := bom.Build{Image: image, Board: b.hw.Name, Release: b.release, Tools: map[string]string{"go": runtime.Version()}, Made: map[string]string{}}
	for tool, flag := range map[string]string{"mkfs.erofs": "-V", "mke2fs": "-V", "mcopy": "--version", "gcc": "--version", "sgdisk": "--version"} {
		said, err := versionOf(tool, flag)
		if err != nil {
			return how, err
		}
		how.Tools[tool] = said
	}
	for _, name := range []string{"disk.img", "root.erofs", "initrd.cpio.zst", "a.efi", "b.efi"} {
		sum, err := fileSum(filepath.Join(b.out, name))
		if err != nil {
			return how, err
		}
		how.Made[name] = sum
	}
	git := func(args ...string) (string, error) {
		cmd := exec.Command("git", args...)
		cmd.Dir = b.source
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	commit, err := git("rev-parse", "HEAD")
	changed, err2 := git("status", "--porcelain")
	if err = errors.Join(err, err2); err != nil || changed != "" {
		if b.release {
			return how, fmt.Errorf("a release is made of a commit, with nothing changed: %w", err)
		}
		if commit != "" {
			commit += "+dirty"
		}
	}
	how.Commit = commit
	return how, nil
}

// versionOf is the first line a tool says of its version. Some call that an error.
func versionOf(tool, flag string) (string, error) {
	path := tool
	if _, err := exec.LookPath(tool); err != nil {
		path = filepath.Join("/usr/sbin", tool)
	}
	out, err := exec.Command(path, flag).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if line == "" {
		return "", fmt.Errorf("%s %s: got no version: %w", tool, flag, err)
	}
	return line, nil
}

func fileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
