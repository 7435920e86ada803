package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/qemu"
)

// bootLimit is for emulation on a busy workstation; a quiet one needs a tenth.
const bootLimit = 60 * time.Second

// imageOnce builds the image for all tests of this package.
var imageOnce = sync.OnceValues(func() (built, error) {
	source, err := moduleRoot()
	if err != nil {
		return built{}, err
	}
	return build(options{
		board: "qemu-x86_64", out: filepath.Join(source, "build", "image", "test"), version: "0.0.0-test",
		say: func(string, ...any) {},
	})
})

// needs of a test that boots the image.
func requireBoot(t *testing.T) built {
	t.Helper()
	lab.Require(t, lab.Program(qemu.Programs...), lab.Program("mkfs.erofs", "sgdisk", "mcopy", "mkfs.vfat", "mke2fs", "debugfs", "dpkg-deb", "apt-get"))
	if testing.Short() {
		t.Skip("boots the image")
	}
	files, err := imageOnce()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// machine is a folder for one, with a short path: its sockets lie in it.
func machine(t *testing.T, files built) qemu.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return qemu.Config{Image: filepath.Dir(files.Disk), Dir: dir, Once: true}
}

func start(t *testing.T, cfg qemu.Config) *qemu.VM {
	t.Helper()
	vm, err := qemu.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		vm.Kill()
		if t.Failed() {
			t.Logf("console:\n%s", vm.Transcript())
		}
	})
	return vm
}

func expect(t *testing.T, vm *qemu.VM, pattern string) []string {
	t.Helper()
	m, err := vm.Expect(pattern, bootLimit)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// siteStick makes a stick with the example site.
func siteStick(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	example, err := os.ReadFile(filepath.Join("..", "docs", "site.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"site.toml": string(example), "anchors/devices.pem": "none", "secrets/netd/hub.key": "none",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(t.TempDir(), "stick.img")
	if err := makeStick(out, dir); err != nil {
		t.Fatal(err)
	}
	return out
}

// dataPartition copies a machine's data partition out of its disk.
func dataPartition(t *testing.T, cfg qemu.Config) string {
	t.Helper()
	hw := qemuBoard(t)
	out := filepath.Join(cfg.Dir, "data.img")
	first := 1 + hw.Disk.ESP + 2*hw.Disk.Root
	command(t, "dd", "if="+cfg.Disk(), "of="+out, "bs=1M", "skip="+itoa(first), "count="+itoa(hw.Disk.Data), "conv=sparse", "status=none")
	return out
}

func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	if cmd.Err != nil {
		cmd = exec.Command(filepath.Join("/usr/sbin", name), args...)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A new box takes its site from the stick, keeps it, ends in order when its power
// button is pressed, and says so at the next start.
func TestFirstBootAndPowerButton(t *testing.T) {
	cfg := machine(t, requireBoot(t))
	first := cfg
	first.Stick = siteStick(t)
	vm := start(t, first)
	expect(t, vm, `site imported from the stick`)
	expectUp(t, vm)
	if err := vm.PressPower(); err != nil {
		t.Fatal(err)
	}
	expect(t, vm, `clinicgate: power off`)
	if err := vm.Wait(bootLimit); err != nil {
		t.Fatal(err)
	}
	data := dataPartition(t, cfg)
	command(t, "e2fsck", "-fn", data)
	t.Log(command(t, "debugfs", "-R", "cat /log/init.log", data))
}
