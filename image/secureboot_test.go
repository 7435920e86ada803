package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/nvram"
	"clinicgate/firmware/lab/qemu"
)

// A firmware that knows cloud ops' key starts what they have signed, and nothing
// else: not without a signature, not with one bit changed, not signed by others.
func TestSecureBoot(t *testing.T) {
	lab.Require(t, qemu.Firmware, lab.Program("sbattach", "mcopy"))
	files := requireBoot(t)
	source, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(source, "build", "secureboot")
	theirs := filepath.Join(t.TempDir(), "theirs")
	if err := makeSecureBootKeys(theirs, "somebody"); err != nil {
		t.Fatal(err)
	}
	refused := `BdsDxe: failed to (load|start) Boot.*: (Access Denied|Security Violation)`
	for _, c := range []struct {
		name, keys string
		change     func(path string)
		want       string
	}{
		{"signed", ours, func(string) {}, `clinicgate: release \S+, board qemu-x86_64, slot a`},
		{"unsigned", ours, func(path string) { command(t, "sbattach", "--remove", path) }, refused},
		{"one bit changed", ours, func(path string) {
			rewrite(t, path, func(uki []byte) []byte {
				uki[bytes.Index(uki, []byte("lockdown=integrity"))] ^= 1
				return uki
			})
		}, refused},
		{"signed by somebody", theirs, func(string) {}, refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vm := start(t, secured(t, files, c.keys, c.change))
			expect(t, vm, c.want)
			if c.want != refused {
				expect(t, vm, `clinicgate: Secure Boot is on, kernel lockdown: integrity`)
			}
		})
	}
}

// secured is a machine whose firmware knows the keys, and whose disk has the kernel
// image of slot a as change makes it.
func secured(t *testing.T, files built, keys string, change func(path string)) qemu.Config {
	t.Helper()
	cfg := machine(t, files)
	cfg.UEFI = true
	command(t, "cp", "--sparse=always", files.Disk, cfg.Disk())
	image := filepath.Join(t.TempDir(), "a.efi")
	command(t, "cp", files.UKI["a"], image)
	change(image)
	for _, name := range []string{"EFI/BOOT/BOOTX64.EFI", "EFI/clinicgate/a.efi"} {
		command(t, "mcopy", "-o", "-i", cfg.Disk()+"@@1M", image, "::/"+name)
	}
	var certs [3][]byte
	for i, role := range secureBootKeys {
		var err error
		if certs[i], err = os.ReadFile(filepath.Join(keys, role+".cer")); err != nil {
			t.Fatal(err)
		}
	}
	all, err := nvram.SecureBoot(certs[0], certs[1], certs[2])
	if err != nil {
		t.Fatal(err)
	}
	vars := filepath.Join(cfg.Dir, "vars.fd")
	command(t, "cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", vars)
	if err := nvram.Add(vars, all...); err != nil {
		t.Fatal(err)
	}
	return cfg
}
