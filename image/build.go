package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"clinicgate/board"
	"clinicgate/firmware/module"
	"clinicgate/firmware/verity"
	"clinicgate/image/cpio"
	"clinicgate/image/deb"
	"clinicgate/image/disk"
	"clinicgate/image/elfdeps"
	"clinicgate/image/kmod"
	"clinicgate/image/root"
	"clinicgate/image/uki"
)

// triplet is Debian's name for the architecture in library paths.
var triplet = map[string]string{"amd64": "x86_64-linux-gnu"}

// options of one build.
type options struct {
	board, out, version string
	dataMiB             int
	root                string // TUF root the image trusts for updates; empty: the workstation's own
	sign                string // folder of the key that signs kernel images; empty: a test key
	release             bool
	say                 func(string, ...any)
}

// built names the files of a build, all in its output folder.
type built struct {
	Disk, Kernel, Initrd, Cmdline, Root string
	UKI                                 map[string]string // by slot
}

func filesIn(out string) built {
	in := func(name string) string { return filepath.Join(out, name) }
	return built{in("disk.img"), in("vmlinuz"), in("initrd.cpio.zst"), in("cmdline"), in("root.erofs"),
		map[string]string{"a": in("a.efi"), "b": in("b.efi")}}
}

// builder is one build under way.
type builder struct {
	options
	hw       *board.Board
	source   string            // of clinicgate
	work     string            // intermediate files
	trees    map[string]string // unpacked packages
	names    []string          // of packages, in order
	archive  deb.Archive
	packages []deb.Package // as taken
	kernel   string        // name of the kernel's package
	kmods    *kmod.Tree
	verity   verity.Image // of the root filesystem
	files    built
}

// build makes everything a board boots from.
func build(o options) (built, error) {
	b, err := prepare(o)
	if err != nil {
		return built{}, err
	}
	for _, step := range []func() error{b.fetch, b.compile, b.makeInitrd, b.makeRoot, b.makeUKI, b.makeDisk, b.describe} {
		if err := step(); err != nil {
			return built{}, err
		}
	}
	fi, err := os.Stat(b.files.Root)
	if err != nil {
		return built{}, err
	}
	b.say("%s: root filesystem %.1f MB; disk in %s", b.hw.Name, float64(fi.Size())/1e6, b.files.Disk)
	return b.files, nil
}

func prepare(o options) (*builder, error) {
	b := &builder{options: o, hw: board.Find(o.board), trees: map[string]string{}}
	if b.hw == nil {
		return nil, fmt.Errorf("no board is called %q", o.board)
	}
	var err error
	if b.source, err = moduleRoot(); err != nil {
		return nil, err
	}
	if b.out == "" {
		b.out = filepath.Join(b.source, "build", "image", b.hw.Name)
	}
	b.work = filepath.Join(b.out, "work")
	b.files = filesIn(b.out)
	// What an earlier build has left goes first: a build that is cut short must not
	// look whole.
	for _, old := range []string{b.files.Disk, b.files.Kernel, b.files.Initrd, b.files.Cmdline, b.files.Root, b.files.UKI["a"], b.files.UKI["b"]} {
		if err := os.RemoveAll(old); err != nil {
			return nil, err
		}
	}
	return b, os.MkdirAll(b.work, 0o755)
}

// fetch brings the packages of the lock and opens the kernel's modules.
func (b *builder) fetch() error {
	locked, err := deb.ReadLock(filepath.Join(b.source, "image", "lock.json"))
	if err != nil {
		return err
	}
	b.archive = deb.Archive{Cache: filepath.Join(b.source, "build", "cache"), Release: b.release, Say: b.say}
	for _, p := range locked.Packages {
		if strings.HasPrefix(p.Name, "linux-image-") {
			b.kernel = p.Name
		}
		tree, taken, err := b.archive.Fetch(p)
		if err != nil && !b.release && p.Name == b.kernel {
			tree, taken, err = b.newerKernel(err)
		}
		if err != nil {
			return err
		}
		b.trees[p.Name] = tree
		b.names = append(b.names, p.Name)
		b.packages = append(b.packages, taken)
	}
	for _, name := range debs {
		if b.trees[name] == "" {
			return fmt.Errorf("image/lock.json lacks %s: `make lock`", name)
		}
	}
	b.kmods, err = kmod.Open(os.DirFS(b.trees[b.kernel]))
	return err
}

// newerKernel is for a development build when the archive has dropped the locked
// kernel, whose version is in its package's name.
func (b *builder) newerKernel(cause error) (string, deb.Package, error) {
	name, err := b.archive.Latest(b.hw.Kernel)
	if err != nil {
		return "", deb.Package{}, err
	}
	p, err := b.archive.Current(name)
	if err != nil {
		return "", p, err
	}
	b.say("%s is gone (%v), taking %s %s", b.kernel, cause, p.Name, p.Version)
	tree, taken, err := b.archive.Fetch(p)
	b.kernel = p.Name
	return tree, taken, err
}

// compile builds our programs. Only cardauth uses cgo, for PC/SC.
func (b *builder) compile() error {
	bin := filepath.Join(b.work, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, p := range programs {
		if _, err := os.Stat(filepath.Join(b.source, p.dir, "main.go")); err != nil {
			if b.release {
				return fmt.Errorf("program %s: %w", p.name, err)
			}
			b.say("no %s in this source yet: the image goes without", p.name)
			continue
		}
		b.say("compiling %s", p.name)
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", filepath.Join(bin, p.name), "./"+p.dir)
		cmd.Dir = b.source
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+map[bool]string{true: "1", false: "0"}[p.cgo], "GOOS=linux", "GOARCH="+b.hw.Arch)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("compile %s: %w\n%s", p.name, err, bytes.TrimSpace(out))
		}
	}
	return nil
}

// orderLists works out the load order of the board's modules, for each list what
// the earlier ones have not loaded.
func (b *builder) orderLists() (map[string][]kmod.Module, error) {
	m := b.hw.Modules
	lists := map[string][]kmod.Module{}
	var loaded []kmod.Module
	for _, l := range []struct {
		name string
		want []string
		base bool // loaded at every start: later lists may rely on it
	}{{"initrd", m.Initrd, true}, {"system", m.System, true}, {"stick", m.Stick, false}, {"uefi", m.UEFI, false}} {
		list, err := b.kmods.Order(l.want, loaded)
		if err != nil {
			return nil, err
		}
		lists[l.name] = list
		if l.base {
			loaded = append(loaded, list...)
		}
	}
	return lists, nil
}

func orderText(list []kmod.Module) string {
	var entries []module.Entry
	for _, m := range list {
		entries = append(entries, module.Entry{Path: "/" + m.Path, Params: m.Params})
	}
	return module.Format(entries)
}

// makeInitrd packs init and what it needs to reach the root filesystem.
func (b *builder) makeInitrd() error {
	lists, err := b.orderLists()
	if err != nil {
		return err
	}
	modules := lists["initrd"]
	var archive bytes.Buffer
	w := cpio.New(&archive)
	for _, dir := range []string{"proc", "sys", "dev", "newroot"} {
		w.Dir(dir)
	}
	w.Char("dev/console", 0o600, 5, 1)
	w.File("etc/initrd-release", 0o644, []byte("ID=clinicgate\n")) // no version: the same in the next release
	w.File("etc/modules.initrd", 0o644, []byte(orderText(modules)))
	for _, m := range modules {
		data, err := os.ReadFile(filepath.Join(b.trees[b.kernel], m.Path))
		if err != nil {
			return err
		}
		w.File(m.Path, 0o644, data)
	}
	init, err := os.ReadFile(filepath.Join(b.work, "bin", "init"))
	if err != nil {
		return err
	}
	w.File("init", 0o755, init)
	if err := w.Close(); err != nil {
		return err
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return os.WriteFile(b.files.Initrd, z.EncodeAll(archive.Bytes(), nil), 0o644)
}

func (b *builder) osRelease() string {
	return fmt.Sprintf("NAME=clinicgate\nID=clinicgate\nVERSION_ID=%s\nPRETTY_NAME=\"clinicgate %s\"\nVARIANT_ID=%s\n", b.version, b.version, b.hw.Name)
}

// makeRoot assembles the root filesystem.
func (b *builder) makeRoot() error {
	dir := filepath.Join(b.work, "root")
	t, err := root.New(dir)
	if err != nil {
		return err
	}
	for _, step := range []func(*root.Tree) error{b.putModules, b.putEtc, b.putDebian, b.putPrograms} {
		if err := step(t); err != nil {
			return err
		}
	}
	if err := b.putLibraries(t, dir); err != nil {
		return err
	}
	if err := disk.EROFS(b.files.Root, dir); err != nil {
		return err
	}
	b.verity, err = appendTree(b.files.Root)
	return err
}

// appendTree puts the hash tree behind a root filesystem.
func appendTree(path string) (verity.Image, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return verity.Image{}, err
	}
	defer f.Close()
	image, tree, err := verity.Build(f)
	if err != nil {
		return verity.Image{}, err
	}
	if _, err := f.WriteAt(tree, image.Blocks*verity.Block); err != nil {
		return verity.Image{}, fmt.Errorf("append hash tree: %w", err)
	}
	return image, f.Close()
}

func (b *builder) putModules(t *root.Tree) error {
	lists, err := b.orderLists()
	if err != nil {
		return err
	}
	for _, name := range []string{"system", "stick", "uefi"} {
		list := lists[name]
		if err := t.Write("etc/modules."+name, []byte(orderText(list)), 0o644); err != nil {
			return err
		}
		for _, m := range list {
			if err := t.Copy(filepath.Join(b.trees[b.kernel], m.Path), m.Path, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *builder) putEtc(t *root.Tree) error {
	for name, text := range etc {
		if err := t.Write("etc/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	root, err := b.trust()
	if err != nil {
		return err
	}
	return errors.Join(t.Write("etc/os-release", []byte(b.osRelease()), 0o644), t.Write("etc/clinicgate/root.json", root, 0o644))
}

// trust is the TUF root that the image believes updates by. A development image
// believes this workstation's own depot; a release must be told whom to believe.
func (b *builder) trust() ([]byte, error) {
	if b.root != "" {
		return os.ReadFile(b.root)
	}
	if b.release {
		return nil, errors.New("a release needs -root FILE: cloud ops' TUF root")
	}
	return devDepot(filepath.Join(b.source, "build", "depot"))
}

func (b *builder) putDebian(t *root.Tree) error {
	for _, f := range debFiles {
		from := filepath.Join(b.trees[f.deb], f.path)
		to := f.to
		if to == "" {
			to = f.path
		}
		fi, err := os.Stat(from)
		if err != nil {
			return fmt.Errorf("package %s: %w", f.deb, err)
		}
		if fi.IsDir() {
			err = t.CopyDir(from, to)
		} else {
			err = t.Copy(from, to, fi.Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
	extensions := "usr/lib/" + triplet[b.hw.Arch] + "/xtables/"
	for _, m := range matches {
		if err := t.Copy(filepath.Join(b.trees["iptables"], extensions, m+".so"), extensions+m+".so", 0o644); err != nil {
			return err
		}
	}
	for _, l := range links {
		if err := t.Link(l[0], l[1]); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) putPrograms(t *root.Tree) error {
	for _, p := range programs {
		from := filepath.Join(b.work, "bin", p.name)
		if _, err := os.Stat(from); err != nil {
			continue // said at compile
		}
		if err := t.Copy(from, p.to, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// putLibraries adds what the ELF files of the tree need.
func (b *builder) putLibraries(t *root.Tree, dir string) error {
	elves, err := elfdeps.Files(dir)
	if err != nil {
		return err
	}
	var roots []string
	for _, name := range b.names {
		roots = append(roots, b.trees[name])
	}
	libs, err := elfdeps.Closure(roots, elfdeps.Dirs(triplet[b.hw.Arch]), elves)
	if err != nil {
		return err
	}
	for _, lib := range libs {
		if err := t.Copy(lib, "usr/lib/"+triplet[b.hw.Arch]+"/"+filepath.Base(lib), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// commandLine is what the kernel is told. panic=5: a box that can't go on resets.
// lockdown: not even root changes the kernel that runs.
func (b *builder) commandLine(slot string) string {
	return fmt.Sprintf("console=%s,%d quiet loglevel=3 panic=5 lockdown=integrity clinicgate.board=%s clinicgate.slot=%s clinicgate.verity=%s",
		b.hw.Console.Device, b.hw.Console.Baud, b.hw.Name, slot, b.verity)
}

// makeUKI makes each slot's unified kernel image, signed, and their parts as files for
// machines that load a kernel directly. The kernel comes before the initrd: it
// seldom changes, and an update finds its blocks where they were.
func (b *builder) makeUKI() error {
	kernels, err := filepath.Glob(filepath.Join(b.trees[b.kernel], "boot", "vmlinuz-*"))
	if err != nil || len(kernels) != 1 {
		return fmt.Errorf("package %s: got %d kernels, want 1", b.kernel, len(kernels))
	}
	kernel, err := os.ReadFile(kernels[0])
	if err != nil {
		return err
	}
	stub, err := os.ReadFile(filepath.Join(b.trees["systemd-boot-efi"], "usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
	if err != nil {
		return err
	}
	initrd, err := os.ReadFile(b.files.Initrd)
	if err != nil {
		return err
	}
	key, cert, err := b.signer()
	if err != nil {
		return err
	}
	for slot, path := range b.files.UKI {
		image, err := uki.Append(stub,
			uki.Section{Name: ".osrel", Data: []byte(b.osRelease())},
			uki.Section{Name: ".cmdline", Data: []byte(b.commandLine(slot))},
			uki.Section{Name: ".linux", Data: kernel},
			uki.Section{Name: ".initrd", Data: initrd})
		if err != nil {
			return err
		}
		if image, err = uki.Sign(image, key, cert); err != nil {
			return err
		}
		if err := os.WriteFile(path, image, 0o644); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.files.Kernel, kernel, 0o644); err != nil {
		return err
	}
	return os.WriteFile(b.files.Cmdline, []byte(b.commandLine("a")+"\n"), 0o644)
}

// makeDisk puts it all on a disk. root-b is empty: the other slot of an update.
func (b *builder) makeDisk() error {
	d := b.hw.Disk
	if b.dataMiB > 0 {
		d.Data = b.dataMiB
	}
	esp, data := filepath.Join(b.work, "esp.img"), filepath.Join(b.work, "data.img")
	if err := disk.FAT(esp, "ESP", d.ESP, map[string]string{
		"EFI/BOOT/BOOTX64.EFI": b.files.UKI["a"], "EFI/clinicgate/a.efi": b.files.UKI["a"],
	}); err != nil {
		return err
	}
	if err := disk.Ext4(data, "data", d.Data); err != nil {
		return err
	}
	return disk.Write(b.files.Disk, b.hw.Name, []disk.Partition{
		{Name: "esp", Type: "ef00", MiB: d.ESP, Image: esp},
		{Name: "root-a", Type: "8304", MiB: d.Root, Image: b.files.Root},
		{Name: "root-b", Type: "8304", MiB: d.Root},
		{Name: "data", Type: "8300", MiB: d.Data, Image: data},
	})
}
