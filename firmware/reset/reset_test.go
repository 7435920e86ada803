package reset

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"

	"golang.org/x/sys/unix"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// key is what must not be found again.
var key = strings.Repeat("clinicgate-master-1 5f0c926a171dc238be7188985905eac3 ", 4)

// fill puts a used box's data below root.
func fill(t *testing.T, root string) Data {
	t.Helper()
	for name, text := range map[string]string{
		"secrets/syncd/master.key": key, "secrets/netd/hub.key": key + "x", "secrets/panel/empty": "",
		"site/site.toml": "[site]", "site/anchors/a.pem": "A", "syncd/log/0001": "sealed", "log/netd.log": "{}",
		"init/slots.json": "{}", "init/ended": "running", "init/site-before.toml": "[site]",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Data{Root: root, Keep: []string{"init/slots.json"}}
}

// left lists the files below root.
func left(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(root, path)
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestCarry(t *testing.T) {
	d := fill(t, t.TempDir())
	before := left(t, d.Root)
	if o, err := d.Carry(noon); err != nil || o != nil || left(t, d.Root) != before {
		t.Fatalf("without an order: %+v, %v, %s", o, err, left(t, d.Root))
	}
	if err := d.Give(Order{At: noon, By: "console", Left: 3}); err != nil {
		t.Fatal(err)
	}
	if o, err := d.Ordered(); err != nil || o == nil || o.Left != 3 {
		t.Fatalf("%+v, %v", o, err)
	}
	if err := d.Cancel(); err != nil || left(t, d.Root) != before {
		t.Fatalf("cancelled: %v, %s", err, left(t, d.Root))
	}
	if err := d.Give(Order{At: noon, By: "console"}); err != nil {
		t.Fatal(err)
	}
	o, err := d.Carry(noon)
	if err != nil || o.Destroyed == nil || o.Destroyed.Files != 3 || o.Destroyed.Weak == "" {
		t.Fatalf("%+v, %v", o, err)
	}
	if got := left(t, d.Root); got != "init/reset-done.json init/slots.json" {
		t.Errorf("left: %s", got)
	}
	if o, err := d.Carry(noon); err != nil || o != nil {
		t.Errorf("again: %+v, %v", o, err)
	}
}

// TestStops begins from what a power cut leaves at each step, and ends as a whole one
// does.
func TestStops(t *testing.T) {
	give := func(t *testing.T, d Data, o Order) {
		if err := d.Give(o); err != nil {
			t.Fatal(err)
		}
	}
	for name, stop := range map[string]func(*testing.T, Data){
		"ordered": func(t *testing.T, d Data) { give(t, d, Order{At: noon}) },
		"one key destroyed": func(t *testing.T, d Data) {
			give(t, d, Order{At: noon})
			if _, _, err := d.destroy(filepath.Join(d.Root, "secrets/netd/hub.key")); err != nil {
				t.Fatal(err)
			}
		},
		"one key overwritten, not removed": func(t *testing.T, d Data) {
			give(t, d, Order{At: noon})
			if err := os.WriteFile(filepath.Join(d.Root, "secrets/netd/hub.key"), make([]byte, 100), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"keys destroyed": func(t *testing.T, d Data) {
			if _, err := d.destroyKeys(); err != nil {
				t.Fatal(err)
			}
			give(t, d, Order{At: noon, Destroyed: &Proof{Files: 3}})
		},
		"half of the rest removed": func(t *testing.T, d Data) {
			give(t, d, Order{At: noon, Destroyed: &Proof{Files: 3}})
			if err := os.RemoveAll(filepath.Join(d.Root, "syncd")); err != nil {
				t.Fatal(err)
			}
		},
		"all but the order removed": func(t *testing.T, d Data) {
			give(t, d, Order{At: noon, Destroyed: &Proof{Files: 3}})
			if err := d.empty(); err != nil {
				t.Fatal(err)
			}
		},
		"an order that can't be read": func(t *testing.T, d Data) {
			if err := os.WriteFile(d.order(), []byte(`{"at":`), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := fill(t, t.TempDir())
			stop(t, d)
			o, err := d.Carry(noon)
			if err != nil || o == nil || o.Destroyed == nil {
				t.Fatalf("%+v, %v", o, err)
			}
			if got := left(t, d.Root); got != "init/reset-done.json init/slots.json" {
				t.Errorf("left: %s", got)
			}
			var done Order
			text, err := os.ReadFile(d.Done())
			if err != nil || json.Unmarshal(text, &done) != nil || done.Destroyed == nil {
				t.Errorf("proof: %s, %v", text, err)
			}
		})
	}
}

// TestNothingGoesFirst: a key that can't be destroyed keeps everything else, and the
// order, for the next start.
func TestNothingGoesFirst(t *testing.T) {
	d := fill(t, t.TempDir())
	if err := d.Give(Order{At: noon}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Root, "secrets/netd/huge"), make([]byte, maxKey+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if o, err := d.Carry(noon); err == nil {
		t.Fatalf("%+v", o)
	}
	if got := left(t, d.Root); strings.Contains(got, "master.key") || !strings.Contains(got, "syncd/log/0001") || !strings.Contains(got, "init/reset.json") {
		t.Errorf("left: %s", got)
	}
}

// TestDisk resets a real file system, looks for the keys on its disk, and has the
// proof say that it did so too.
func TestDisk(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("mkfs.ext4", "losetup"))
	dir := t.TempDir()
	image, root := filepath.Join(dir, "data.img"), filepath.Join(dir, "data")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", args[0], err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	run("truncate", "-s", "16M", image)
	run("mkfs.ext4", "-q", image)
	device := run("losetup", "--find", "--show", image)
	t.Cleanup(func() { run("losetup", "--detach", device) })
	mount := func() {
		t.Helper()
		if err := unix.Mount(device, root, "ext4", 0, ""); err != nil {
			t.Fatal(err)
		}
	}
	onDisk := func() bool {
		text, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(text, []byte("5f0c926a171dc238"))
	}
	mount()
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	d := fill(t, root)
	d.Device = device
	if err := d.Give(Order{At: noon}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(root, 0); err != nil { // so that all is on the disk
		t.Fatal(err)
	}
	if !onDisk() {
		t.Fatal("the keys were never on the disk: nothing is proved")
	}
	mount()
	o, err := d.Carry(noon)
	if err != nil || o.Destroyed.Files != 3 || o.Destroyed.Blocks < 2 || o.Destroyed.Weak != "" {
		t.Fatalf("%+v, %v", o, err)
	}
	if err := unix.Unmount(root, 0); err != nil {
		t.Fatal(err)
	}
	if onDisk() {
		t.Error("a key is still on the disk")
	}
	// And the look is one that can fail.
	mount()
	path := filepath.Join(root, "kept")
	if err := os.WriteFile(path, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	where, weak := d.extents(f)
	if err := f.Close(); err != nil || len(where) == 0 {
		t.Fatalf("%v, %q", err, weak)
	}
	if _, err := d.gone(where[0], []byte(key)); err == nil {
		t.Error("a key that is there was not found")
	}
}
