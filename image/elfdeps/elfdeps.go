// Package elfdeps finds the shared libraries that programs need, in a tree of
// unpacked packages: the closure that has to be on the box, and no more.
package elfdeps

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Dirs are where the dynamic linker of the box looks, in order.
func Dirs(triplet string) []string {
	return []string{"lib/" + triplet, "usr/lib/" + triplet, "lib", "usr/lib"}
}

// Closure returns the libraries that the ELF files at paths need, directly and
// through one another, each once and sorted: paths of the roots' files. A static
// file needs none. roots are searched in order.
func Closure(roots, dirs, paths []string) ([]string, error) {
	seen := map[string]string{}
	for todo := slices.Clone(paths); len(todo) > 0; {
		path := todo[0]
		todo = todo[1:]
		names, err := needed(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, name := range names {
			if _, ok := seen[name]; ok {
				continue
			}
			lib, err := find(roots, dirs, name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			seen[name] = lib
			todo = append(todo, lib)
		}
	}
	var libs []string
	for _, lib := range seen {
		libs = append(libs, lib)
	}
	slices.Sort(libs)
	return libs, nil
}

// needed reads DT_NEEDED. The dynamic linker itself may be among it.
func needed(path string) ([]string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ImportedLibraries()
}

func find(roots, dirs []string, name string) (string, error) {
	for _, r := range roots {
		for _, d := range dirs {
			path := filepath.Join(r, d, name)
			if _, err := os.Stat(path); err == nil {
				return path, nil
			} else if !errors.Is(err, os.ErrNotExist) {
				return "", err
			}
		}
	}
	return "", fmt.Errorf("needs %s, which no package of the image has", name)
}

// Files returns the ELF files below dir that the dynamic linker would load.
// Kernel modules are ELF too and are none.
func Files(dir string) ([]string, error) {
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) == ".ko" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		var magic [4]byte
		if _, err := io.ReadFull(f, magic[:]); err == nil && string(magic[:]) == elf.ELFMAG {
			all = append(all, path)
		}
		return nil
	})
	return all, err
}
