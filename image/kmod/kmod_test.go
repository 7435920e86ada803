package kmod

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// ko makes an ELF file with nothing but a .modinfo section.
func ko(info string) []byte {
	const header = 64
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	b.WriteString("\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9))
	put := func(v ...any) {
		for _, x := range v {
			if err := binary.Write(&b, binary.LittleEndian, x); err != nil {
				panic(err)
			}
		}
	}
	table := uint64(header + len(info) + len(names))
	put(uint16(1), uint16(62), uint32(1), uint64(0), uint64(0), table, uint32(0), uint16(header), uint16(0), uint16(0), uint16(64), uint16(3), uint16(2))
	b.WriteString(info + names)
	section := func(name, kind uint32, at, size int) {
		put(name, kind, uint64(0), uint64(0), uint64(at), uint64(size), uint32(0), uint32(0), uint64(1), uint64(0))
	}
	section(0, 0, 0, 0)
	section(1, 1, header, len(info))
	section(10, 3, header+len(info), len(names))
	return b.Bytes()
}

func tree(t *testing.T, modules map[string]string) *Tree {
	t.Helper()
	fsys := fstest.MapFS{}
	for path, depends := range modules {
		fsys["lib/modules/6.1.0-56-amd64/kernel/"+path] = &fstest.MapFile{Data: ko("license=GPL\x00depends=" + depends + "\x00name=x\x00")}
	}
	tr, err := Open(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func names(list []Module) string {
	var all []string
	for _, m := range list {
		all = append(all, strings.TrimSpace(m.Name+" "+m.Params))
	}
	return strings.Join(all, ", ")
}

func TestOrder(t *testing.T) {
	tr := tree(t, map[string]string{
		"fs/ext4.ko": "jbd2,mbcache,crc16", "fs/jbd2.ko": "", "fs/mbcache.ko": "", "lib/crc16.ko": "",
		"usb/xhci-pci.ko": "xhci-hcd,usbcore", "usb/xhci-hcd.ko": "usbcore", "usb/usbcore.ko": "", "wd/i6300esb.ko": "",
	})
	initrd, err := tr.Order([]string{"jbd2"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tr.Order([]string{"i6300esb nowayout=1 heartbeat=30", "xhci_pci", "ext4", "usbcore"}, initrd)
	if err != nil {
		t.Fatal(err)
	}
	if want := "i6300esb nowayout=1 heartbeat=30, usbcore, xhci_hcd, xhci_pci, mbcache, crc16, ext4"; names(got) != want {
		t.Errorf("got  %s\nwant %s", names(got), want)
	}
	if i := slices.IndexFunc(got, func(m Module) bool { return m.Name == "xhci_pci" }); got[i].Path != "lib/modules/6.1.0-56-amd64/kernel/usb/xhci-pci.ko" {
		t.Errorf("path %q", got[i].Path)
	}
}

func TestOrderRefuses(t *testing.T) {
	tr := tree(t, map[string]string{"a.ko": "b", "b.ko": "a", "c.ko": "gone"})
	for want, list := range map[string][]string{
		"a depends on itself":                 {"a"},
		"has no module gone":                  {"c"},
		"6.1.0-56-amd64 has no module nosuch": {"nosuch"},
	} {
		if _, err := tr.Order(list, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", list, err, want)
		}
	}
}

func TestOpenWantsOneKernel(t *testing.T) {
	two := fstest.MapFS{
		"lib/modules/6.1/kernel/a.ko": &fstest.MapFile{}, "lib/modules/6.2/kernel/a.ko": &fstest.MapFile{},
	}
	if _, err := Open(two); err == nil {
		t.Error("two kernels were taken")
	}
	if _, err := Open(fstest.MapFS{}); err == nil {
		t.Error("no kernel was taken")
	}
}

// A board may want what one kernel builds in and the next has as a module.
func TestBuiltIn(t *testing.T) {
	fsys := fstest.MapFS{
		"lib/modules/6.1.0/kernel/fs/ext4.ko": {Data: ko("depends=sch-fq\x00")},
		"lib/modules/6.1.0/modules.builtin":   {Data: []byte("kernel/net/sched/sch_fq.ko\nkernel/lib/crc16.ko\n")},
	}
	tr, err := Open(fsys)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tr.Order([]string{"sch_fq", "ext4"}, nil)
	if err != nil || names(got) != "ext4" {
		t.Errorf("got %s, %v", names(got), err)
	}
	if got, err := tr.Order([]string{"crc16 fast=1"}, nil); err == nil {
		t.Errorf("a parameter for what is built in is lost: %s", names(got))
	}
}
