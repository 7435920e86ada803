// Package kmod works out which kernel modules to load, and in what order, so that
// the box need not: each comes after all it depends on.
package kmod

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Tree is the modules of one kernel package, by name as lsmod spells it.
type Tree struct {
	fsys    fs.FS
	Version string
	path    map[string]string
	builtin map[string]bool // part of the kernel: nothing to load
}

// Module is one module file in load order.
type Module struct {
	Name   string
	Path   string // in the tree
	Params string
}

// Open lists the modules of the one kernel below lib/modules in fsys.
func Open(fsys fs.FS) (*Tree, error) {
	kernels, err := fs.ReadDir(fsys, "lib/modules")
	if err != nil || len(kernels) != 1 {
		return nil, fmt.Errorf("kernel modules: got %d kernels, want 1: %w", len(kernels), err)
	}
	t := &Tree{fsys: fsys, Version: kernels[0].Name(), path: map[string]string{}, builtin: map[string]bool{}}
	err = fs.WalkDir(fsys, "lib/modules/"+t.Version+"/kernel", func(p string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".ko") {
			t.path[canonical(strings.TrimSuffix(path.Base(p), ".ko"))] = p
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	list, err := fs.ReadFile(fsys, "lib/modules/"+t.Version+"/modules.builtin")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kernel modules: %w", err)
	}
	for line := range strings.Lines(string(list)) {
		t.builtin[canonical(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko"))] = true
	}
	return t, nil
}

// canonical spells a module's name as the kernel does.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// Order returns the wanted modules ("name param…") and all they depend on, each
// once, dependencies first, none of those in loaded already. What the kernel has
// built in needs no loading, and takes no parameters here.
func (t *Tree) Order(want []string, loaded []Module) ([]Module, error) {
	o := order{tree: t, state: map[string]int{}}
	for _, m := range loaded {
		o.state[m.Name] = done
	}
	for _, line := range want {
		name, params, _ := strings.Cut(line, " ")
		if err := o.add(canonical(name), params); err != nil {
			return nil, err
		}
	}
	return o.list, nil
}

const (
	visiting = 1
	done     = 2
)

type order struct {
	tree  *Tree
	state map[string]int
	list  []Module
}

func (o *order) add(name, params string) error {
	switch o.state[name] {
	case done:
		return nil
	case visiting:
		return fmt.Errorf("kernel module %s depends on itself", name)
	}
	o.state[name] = visiting
	p, ok := o.tree.path[name]
	if !ok && o.tree.builtin[name] && params == "" {
		o.state[name] = done
		return nil
	}
	if !ok {
		return fmt.Errorf("kernel %s has no module %s", o.tree.Version, name)
	}
	depends, err := o.tree.depends(p)
	if err != nil {
		return fmt.Errorf("kernel module %s: %w", name, err)
	}
	for _, d := range depends {
		if err := o.add(d, ""); err != nil {
			return err
		}
	}
	o.state[name] = done
	o.list = append(o.list, Module{name, p, params})
	return nil
}

// depends reads what a module says it needs.
func (t *Tree) depends(p string) ([]string, error) {
	data, err := fs.ReadFile(t.fsys, p)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(strings.NewReader(string(data)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	return parseDepends(string(info)), nil
}

// parseDepends reads the depends= field of a .modinfo section: key=value strings,
// each ended by zero bytes. Soft dependencies are names of features, not always of
// modules: boards list those they need.
func parseDepends(info string) []string {
	var all []string
	for field := range strings.SplitSeq(info, "\x00") {
		list, ok := strings.CutPrefix(field, "depends=")
		if !ok {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if name != "" {
				all = append(all, canonical(name))
			}
		}
	}
	return all
}
