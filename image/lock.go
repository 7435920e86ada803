package main

import (
	"fmt"
	"path/filepath"

	"clinicgate/board"
	"clinicgate/image/deb"
)

// lock notes the archive's current version of every package in image/lock.json.
func lock(name string, say func(string, ...any)) error {
	hw := board.Find(name)
	if hw == nil {
		return fmt.Errorf("no board is called %q", name)
	}
	source, err := moduleRoot()
	if err != nil {
		return err
	}
	a := deb.Archive{Say: say}
	kernel, err := a.Latest(hw.Kernel)
	if err != nil {
		return err
	}
	var l deb.Lock
	for _, name := range append([]string{kernel}, debs...) {
		p, err := a.Current(name)
		if err != nil {
			return err
		}
		l.Packages = append(l.Packages, p)
	}
	path := filepath.Join(source, "image", "lock.json")
	if err := l.Write(path); err != nil {
		return err
	}
	say("%d packages noted in image/lock.json; kernel %s", len(l.Packages), l.Packages[0].Version)
	return nil
}
