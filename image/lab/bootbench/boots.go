package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/image/cpio"
	"clinicgate/image/disk"
	"clinicgate/image/uki"
)

// limit is for one boot on the slowest workstation.
const limit = 5 * time.Minute

// settle is how long the box works before its memory is read.
const settle = 20 * time.Second

// bench is one run: a machine with the image, and one with the bare kernel.
type bench struct {
	dir, image string
	stick      string
	bare       qemu.Config
	box        qemu.Config
	bareUEFI   qemu.Config // both started by the firmware, as real machines are
	boxUEFI    qemu.Config
}

// makeBare compiles the trivial init and packs it as an initrd.
func (b *bench) makeBare(ctx context.Context) error {
	program := filepath.Join(b.dir, "bare-init")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./image/lab/bootbench/bare")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile bare init: %w\n%s", err, out)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := cpio.New(&archive)
	w.Char("dev/console", 0o600, 5, 1)
	w.File("init", 0o755, code)
	if err := w.Close(); err != nil {
		return err
	}
	initrd := filepath.Join(b.dir, "bare.cpio")
	if err := os.WriteFile(initrd, archive.Bytes(), 0o644); err != nil {
		return err
	}
	kernel, err := filepath.Abs(filepath.Join(b.image, "vmlinuz"))
	b.bare = qemu.Config{
		Dir: filepath.Join(b.dir, "b"), Once: true, Kernel: kernel, Initrd: initrd,
		Append: bareLine,
	}
	if err != nil {
		return err
	}
	return b.makeBareDisk()
}

// bareLine is what the bare kernel is told.
const bareLine = "console=ttyS0,115200 quiet loglevel=3 panic=5"

// makeBareDisk puts the bare kernel and its init on a disk that firmware starts:
// in a unified kernel image, as the box's own.
func (b *bench) makeBareDisk() error {
	stub, err := os.ReadFile("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
	if err != nil {
		return err
	}
	kernel, err := os.ReadFile(b.bare.Kernel)
	if err != nil {
		return err
	}
	initrd, err := os.ReadFile(b.bare.Initrd)
	if err != nil {
		return err
	}
	image, err := uki.Append(stub, uki.Section{Name: ".cmdline", Data: []byte(bareLine)},
		uki.Section{Name: ".linux", Data: kernel}, uki.Section{Name: ".initrd", Data: initrd})
	if err != nil {
		return err
	}
	b.bareUEFI = qemu.Config{Dir: filepath.Join(b.dir, "c"), Once: true, UEFI: true}
	if err := os.MkdirAll(b.bareUEFI.Dir, 0o755); err != nil {
		return err
	}
	efi, esp := filepath.Join(b.dir, "bare.efi"), filepath.Join(b.dir, "bare-esp.img")
	if err := os.WriteFile(efi, image, 0o644); err != nil {
		return err
	}
	const mib = 64
	if err := disk.FAT(esp, "ESP", mib, map[string]string{"EFI/BOOT/BOOTX64.EFI": efi}); err != nil {
		return err
	}
	return disk.Write(b.bareUEFI.Disk(), "bare", []disk.Partition{{Name: "esp", Type: "ef00", MiB: mib, Image: esp}})
}

// makeStick makes a site stick of the example site, with keys of its own.
func (b *bench) makeStick(ctx context.Context) error {
	site := filepath.Join(b.dir, "site")
	world, err := pki.New(time.Now())
	if err != nil {
		return err
	}
	gateway, err := world.Gateway(net.ParseIP("10.20.0.1"), net.ParseIP("10.20.0.2"))
	if err != nil {
		return err
	}
	example, err := os.ReadFile("docs/site.example.toml")
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	rand.Read(key)
	for _, err := range []error{
		os.MkdirAll(filepath.Join(site, "secrets", "netd"), 0o755),
		os.WriteFile(filepath.Join(site, "secrets", "netd", "hub.key"), []byte(base64.StdEncoding.EncodeToString(key)), 0o600),
		os.WriteFile(filepath.Join(site, "site.toml"), example, 0o644),
		world.WriteAnchors(filepath.Join(site, "anchors")),
		gateway.Write(filepath.Join(site, "secrets", "cardauth"), "tls"),
		gateway.Write(filepath.Join(site, "secrets", "syncd"), "tls"),
		gateway.Write(filepath.Join(site, "secrets", "panel"), "tls"),
	} {
		if err != nil {
			return err
		}
	}
	b.stick = filepath.Join(b.dir, "stick.img")
	if out, err := exec.CommandContext(ctx, "go", "run", "./image", "stick", "-o", b.stick, site).CombinedOutput(); err != nil {
		return fmt.Errorf("make stick: %w\n%s", err, out)
	}
	return nil
}

// setUp boots each box once with the stick: what is measured is a box at work, not
// a new one.
func (b *bench) setUp(ctx context.Context) error {
	b.box = qemu.Config{Image: b.image, Dir: filepath.Join(b.dir, "a"), Once: true}
	b.boxUEFI = qemu.Config{Image: b.image, Dir: filepath.Join(b.dir, "d"), Once: true, UEFI: true}
	for _, cfg := range []qemu.Config{b.box, b.boxUEFI} {
		cfg.Stick = b.stick
		if _, err := until(ctx, cfg, `clinicgate: ready in`, true); err != nil {
			return err
		}
	}
	return nil
}

// until is the time from power-on to a line on the console. A box that is to end
// in order works for a while before, so that its log tells what memory it had.
func until(ctx context.Context, cfg qemu.Config, line string, inOrder bool) (time.Duration, error) {
	began := time.Now()
	vm, err := qemu.Start(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer vm.Kill()
	if _, err := vm.Expect(line, limit); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if !inOrder {
		return took, nil
	}
	time.Sleep(settle)
	return took, powerOff(vm)
}

func powerOff(vm *qemu.VM) error {
	if err := vm.PressPower(); err != nil {
		return err
	}
	return vm.Wait(limit)
}

// memory reads, from the log of the last boot, what each service had in RAM.
func (b *bench) memory() ([]metric, error) {
	text, err := b.initLog()
	if err != nil {
		return nil, err
	}
	rss := map[string]float64{}
	var names []string
	for line := range strings.Lines(text) {
		var l struct {
			Msg, Service string
			RSS          float64
		}
		if json.Unmarshal([]byte(line), &l) != nil || l.Msg != "service at the end" {
			continue
		}
		if _, ok := rss[l.Service]; !ok {
			names = append(names, l.Service)
		}
		rss[l.Service] = l.RSS / 1e6
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("init's log tells nothing of services:\n%s", text)
	}
	total := metric{Metric: "rss.total_mb", Unit: "MB", N: 1}
	var each []metric
	for _, name := range names {
		total.Value += rss[name]
		each = append(each, metric{Metric: "rss." + name + "_mb", Value: rss[name], Unit: "MB", N: 1})
	}
	return append([]metric{total}, each...), nil
}

// initLog takes init's log out of the box's disk.
func (b *bench) initLog() (string, error) {
	hw := board.Find("qemu-x86_64")
	data := filepath.Join(b.dir, "data.img")
	first := 1 + hw.Disk.ESP + 2*hw.Disk.Root
	if out, err := exec.Command("dd", "if="+b.box.Disk(), "of="+data, "bs=1M", fmt.Sprintf("skip=%d", first),
		fmt.Sprintf("count=%d", hw.Disk.Data), "conv=sparse", "status=none").CombinedOutput(); err != nil {
		return "", fmt.Errorf("read data partition: %w: %s", err, out)
	}
	out, err := exec.Command("/usr/sbin/debugfs", "-R", "cat /log/init.log", data).Output()
	if err != nil {
		return "", fmt.Errorf("read init's log: %w", err)
	}
	return string(out), nil
}
