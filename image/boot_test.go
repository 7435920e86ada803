package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/attest"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/verity"
)

// bootLimit is for emulation on a busy workstation; a quiet one needs a twentieth.
const bootLimit = 5 * time.Minute

// imageOnce builds the image for all tests of this package, unless CLINICGATE_IMAGE
// names a folder with one just built.
var imageOnce = sync.OnceValues(func() (built, error) {
	if dir := os.Getenv("CLINICGATE_IMAGE"); dir != "" {
		return filesIn(dir), nil
	}
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
func requireBoot(t testing.TB) built {
	t.Helper()
	lab.Require(t, lab.Program(qemu.Programs...), lab.Program("mkfs.erofs", "sgdisk", "mcopy", "mkfs.vfat", "mke2fs", "debugfs", "dpkg-deb", "apt-get"))
	if testing.Short() {
		t.Skip("boots the image")
	}
	t.Attr("boots", "image")
	files, err := imageOnce()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// machine is a folder for one, with a short path: its sockets lie in it.
func machine(t testing.TB, files built) qemu.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return qemu.Config{Image: filepath.Dir(files.Disk), Dir: dir, Once: true}
}

func start(t testing.TB, cfg qemu.Config) *qemu.VM {
	t.Helper()
	vm, err := qemu.Boot(t.Context(), cfg, func(what string) { t.Log(what) })
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

func expect(t testing.TB, vm *qemu.VM, pattern string) []string {
	t.Helper()
	m, err := vm.Expect(pattern, bootLimit)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// siteStick makes a stick with the example site, some more text behind it, and
// keys of its own.
func siteStick(t testing.TB, more string) string {
	t.Helper()
	return siteStickOf(t, func(site string) string { return site + more })
}

// siteStickOf makes one with what edit makes of the example.
func siteStickOf(t testing.TB, edit func(site string) string) string {
	t.Helper()
	dir := t.TempDir()
	world, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := world.Gateway(net.ParseIP("10.20.0.1"), net.ParseIP("10.20.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile(filepath.Join("..", "docs", "site.example.toml"))
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	rand.Read(key)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "secrets", "netd"), 0o755),
		os.WriteFile(filepath.Join(dir, "secrets", "netd", "hub.key"), []byte(base64.StdEncoding.EncodeToString(key)), 0o600),
		os.WriteFile(filepath.Join(dir, "site.toml"), []byte(edit(string(example))), 0o644),
		world.WriteAnchors(filepath.Join(dir, "anchors")),
		gateway.Write(filepath.Join(dir, "secrets", "cardauth"), "tls"),
		gateway.Write(filepath.Join(dir, "secrets", "syncd"), "tls"),
	} {
		if err != nil {
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
func dataPartition(t testing.TB, cfg qemu.Config) string {
	t.Helper()
	hw := board.Find("qemu-x86_64")
	out := filepath.Join(cfg.Dir, "data.img")
	first := 1 + hw.Disk.ESP + 2*hw.Disk.Root
	command(t, "dd", "if="+cfg.Disk(), "of="+out, "bs=1M", "skip="+strconv.Itoa(first), "count="+strconv.Itoa(hw.Disk.Data), "conv=sparse", "status=none")
	return out
}

// journal replays a filesystem's journal, as the next start does.
func journal(t testing.TB, path string) string {
	t.Helper()
	out, _ := exec.Command("/usr/sbin/e2fsck", "-fp", path).CombinedOutput() // status 1: replayed
	return string(out)
}

func command(t testing.TB, name string, args ...string) string {
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

// A box's life: a new one loses power while it takes its site from the stick,
// takes it whole at the next start, loses power at work, comes back without the
// stick, sees its reader unplugged and plugged in, and ends in order when someone
// presses its power button.
func TestLife(t *testing.T) {
	cfg := machine(t, requireBoot(t))
	withStick := cfg
	withStick.Stick = siteStick(t, "")

	vm := start(t, withStick)
	expect(t, vm, `looking for a stick`)
	time.Sleep(300 * time.Millisecond) // the machine is reading it about now
	vm.Kill()

	vm = start(t, withStick)
	expect(t, vm, `clinicgate: release \S+, board qemu-x86_64, slot a`)
	expect(t, vm, `clinicgate: ready in [0-9.]+ s`)
	if n := strings.Count(vm.Transcript(), "site imported"); n > 1 {
		t.Errorf("site imported %d times", n)
	}
	vm.Kill()
	mended := dataPartition(t, cfg)
	if out := journal(t, mended); strings.Contains(out, "INCONSISTENCY") {
		t.Errorf("the power cut did damage:\n%s", out)
	}
	command(t, "e2fsck", "-fn", mended)

	vm = start(t, cfg)
	expect(t, vm, `clinicgate: ready in [0-9.]+ s`)
	if strings.Contains(vm.Transcript(), "no site yet") {
		t.Error("the site did not survive the power cut")
	}
	for n, in := range []bool{false, true} {
		if err := vm.Reader(in); err != nil {
			t.Fatal(err)
		}
		expect(t, vm, fmt.Sprintf(`clinicgate: card readers: %d`, n))
	}
	if err := vm.HoldButton(1000); err != nil { // too short to be meant
		t.Fatal(err)
	}
	if err := vm.PressPower(); err != nil {
		t.Fatal(err)
	}
	expect(t, vm, `clinicgate: power off`)
	if err := vm.Wait(bootLimit); err != nil {
		t.Fatal(err)
	}
	data := dataPartition(t, cfg)
	command(t, "e2fsck", "-fn", data)
	log := command(t, "debugfs", "-R", "cat /log/init.log", data)
	for _, want := range []string{"card readers changed, 0 now", "card readers changed, 1 now", `"how":"poweroff"`} {
		if !strings.Contains(log, want) {
			t.Errorf("init's log has no %q:\n%s", want, log)
		}
	}
	if got := command(t, "debugfs", "-R", "cat /init/ended", data); !strings.HasSuffix(got, "poweroff\n") {
		t.Errorf("the box ended with %q", got)
	}
}

// The way a real box boots: firmware, unified kernel image, measured by a TPM.
func TestFirmwareBootsTheDisk(t *testing.T) {
	lab.Require(t, lab.Program("swtpm"), qemu.Firmware)
	files := requireBoot(t)
	cfg := machine(t, files)
	cfg.UEFI, cfg.TPM = true, true
	vm := start(t, cfg)
	expect(t, vm, `clinicgate: release \S+, board qemu-x86_64, slot a`)
	expect(t, vm, `FAULT /data/site: no FAT filesystem is labelled "CGSITE" after 4s\. put a stick labelled CGSITE`)
	if err := vm.PressPower(); err != nil { // heard before the services run
		t.Fatal(err)
	}
	expect(t, vm, `clinicgate: power off`)
	if err := vm.Wait(bootLimit); err != nil {
		t.Fatal(err)
	}

	// The first start came from the well-known file and has left boot entries.
	vm = start(t, cfg)
	expect(t, vm, `BdsDxe: starting Boot00CA "clinicgate a"`)
	expect(t, vm, `clinicgate: release \S+, board qemu-x86_64, slot a`)
	expect(t, vm, `FAULT /data/site`)
	expect(t, vm, `clinicgate: TPM attests as [0-9a-f]{8}, kernel image measured as `+measured(t, files.UKI["a"]))
	if err := vm.HoldButton(9000); err != nil {
		t.Fatal(err)
	}
	expect(t, vm, `clinicgate: restart: somebody held the button`)
	expect(t, vm, `clinicgate: restart`)
	for _, part := range []string{"slots", "front"} {
		if strings.Contains(vm.Transcript(), "FAULT "+part) {
			t.Errorf("the box has trouble with its %s", part)
		}
	}
}

// measured is what a box started from that kernel image must have in its register.
func measured(t *testing.T, image string) string {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	value, err := attest.Kernel(f)
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(value)
}

// One changed bit in the root partition, in a file system block or in the tree
// that vouches for it, and the box resets instead of running what is there.
func TestFlippedBitsNeverRun(t *testing.T) {
	files := requireBoot(t)
	image := rootImage(t, files)
	root := int64(1+board.QEMUx86_64.Disk.ESP) << 20
	for name, at := range map[string]int64{"file system": 1024, "hash tree": image.Blocks * verity.Block} {
		t.Run(name, func(t *testing.T) {
			cfg := machine(t, files)
			command(t, "cp", "--sparse=always", files.Disk, cfg.Disk())
			flip(t, cfg.Disk(), root+at)
			vm := start(t, cfg)
			if err := vm.Wait(bootLimit); err != nil {
				t.Fatal(err)
			}
			if said := vm.Transcript(); strings.Contains(said, "clinicgate: release") {
				t.Errorf("the box ran what it should not have:\n%s", said)
			}
		})
	}
}

// rootImage is what the build's command line says of the root filesystem, which
// the file must bear out.
func rootImage(t testing.TB, files built) verity.Image {
	t.Helper()
	line, err := os.ReadFile(files.Cmdline)
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(line), "clinicgate.verity=")
	image, err := verity.Parse(strings.Fields(after)[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(files.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := image.Check(f); err != nil {
		t.Fatal(err)
	}
	return image
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
