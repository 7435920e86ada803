package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/lab/relay"
	"clinicgate/firmware/release"
)

// field is a box in the field: a machine that boots by its firmware, with a cable
// to where cloud ops' depot is served.
type field struct {
	t     testing.TB
	cfg   qemu.Config
	dir   string            // the depot
	asked func(path string) // told of each request
	files built             // of the release the box came with
}

const depotPort = "8090"

func newField(t testing.TB, asked func(path string)) *field {
	t.Helper()
	lab.Require(t, lab.Root, qemu.Firmware)
	f := &field{t: t, files: requireBoot(t), asked: asked}
	f.cfg = machine(t, f.files)
	f.cfg.UEFI, f.cfg.Once = true, false
	f.cfg.Stick = siteStick(t, "\n[update]\ndepot = \"http://10.20.0.50:"+depotPort+"\"\nevery = \"3s\"\n")
	source, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	f.dir = t.TempDir()
	command(t, "cp", "-r", filepath.Join(source, "build", "depot")+"/.", f.dir)
	f.serve()
	return f
}

// serve puts the depot on the clinic's network.
func (f *field) serve() {
	t := f.t
	space, err := netns.New(fmt.Sprintf("cg-t%d-depot", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	ours, theirs := filepath.Join(f.cfg.Dir, "lan.world"), filepath.Join(f.cfg.Dir, "lan.box")
	f.cfg.Cables = map[string]qemu.Cable{"lan": {Local: theirs, Remote: ours}}
	tap, err := relay.TAP(space, "lan")
	if err != nil {
		t.Fatal(err)
	}
	box, err := relay.Dgram(ours, theirs)
	if err != nil {
		t.Fatal(err)
	}
	cable := relay.New(tap, box, 1)
	t.Cleanup(func() { cable.Close() })
	for _, err := range []error{space.Up("lan"), space.Addr("lan", "10.20.0.50/24")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var l net.Listener
	if err := space.Do(func() (err error) { l, err = net.Listen("tcp", "10.20.0.50:"+depotPort); return err }); err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.asked(r.URL.Path)
		http.FileServer(http.Dir(f.dir)).ServeHTTP(w, r)
	})}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// release makes, signs and rolls out a release. One that is packed as the box's own
// shares most of its blocks.
func (f *field) release(version string, tight bool) {
	t := f.t
	t.Helper()
	files := variant(t, f.files, version, change{tight: tight})
	r, err := stage(files, f.dir, "qemu-x86_64", version)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := depot.LoadKeys(filepath.Join(f.dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	d := depot.Depot{Dir: f.dir, Now: time.Now()}
	if err := d.Publish(r, keys); err != nil {
		t.Fatal(err)
	}
	if err := d.Steer("qemu-x86_64", "all", release.Ring{Version: version, Percent: 100}, keys); err != nil {
		t.Fatal(err)
	}
}

// A box takes a release by itself, proves it, and keeps it across a power cut.
func TestUpdate(t *testing.T) {
	f := newField(t, func(string) {})
	vm := start(t, f.cfg)
	expect(t, vm, `clinicgate: release \S+, board qemu-x86_64, slot a`)
	expect(t, vm, `clinicgate: ready in [0-9.]+ s`)
	f.release("0.0.2", true)
	expect(t, vm, `clinicgate: release 0\.0\.2 is started on trial`)
	expect(t, vm, `BdsDxe: starting Boot00CB "clinicgate b"`)
	expect(t, vm, `clinicgate: release 0\.0\.2, board qemu-x86_64, slot b`)
	expect(t, vm, `clinicgate: release 0\.0\.2 is on trial`)
	expect(t, vm, `clinicgate: slot b is kept: its release proved itself`)
	vm.Kill()

	vm = start(t, f.cfg)
	expect(t, vm, `clinicgate: release 0\.0\.2, board qemu-x86_64, slot b`)
	if strings.Contains(vm.Transcript(), "on trial") {
		t.Error("the trial goes on")
	}
	log := command(t, "debugfs", "-R", "cat /log/update.log", dataPartition(t, f.cfg))
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"msg":"brought"`) {
			t.Log(strings.TrimSpace(line))
		}
	}
}
