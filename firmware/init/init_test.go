package main

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/uevent"
	"clinicgate/firmware/wire"
)

func TestCmdline(t *testing.T) {
	root := "clinicgate.verity=" + strings.Repeat("5a", 32) + ":6700"
	c, err := parseCmdline("console=ttyS0,115200 quiet clinicgate.board=qemu-x86_64 clinicgate.slot=b " + root + "\n")
	if err != nil || c.board != &board.QEMUx86_64 || c.slot != "b" || c.root.Blocks != 6700 {
		t.Errorf("got %+v, %v", c, err)
	}
	for line, want := range map[string]string{
		"quiet":                    "clinicgate.board is missing",
		"clinicgate.board=toaster": `no board is called "toaster"`,
		"clinicgate.board=qemu-x86_64 clinicgate.slot=c":              `clinicgate.slot: got "c", want a or b`,
		"clinicgate.board=qemu-x86_64 clinicgate.slot=b":              "clinicgate.verity is missing",
		"clinicgate.board=qemu-x86_64 clinicgate.verity=cafe:6700":    "want 64 hexadecimal digits",
		"clinicgate.board=qemu-x86_64 " + root[:len(root)-4] + "zero": `got "zero" blocks`,
	} {
		if _, err := parseCmdline(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
}

// The table of services and the table of users must agree: a slip here gives a
// program another's files.
func TestServicesAndUsers(t *testing.T) {
	uids, names := map[int]string{}, map[string]bool{}
	for _, s := range services(&board.QEMUx86_64) {
		if s.UID == 0 || s.GID != s.UID || uids[s.UID] != "" || names[s.Name] {
			t.Errorf("%s: uid %d, gid %d: want a user of its own", s.Name, s.UID, s.GID)
		}
		uids[s.UID], names[s.Name] = s.Name, true
		if s.Memory == 0 {
			t.Errorf("%s: no memory limit", s.Name)
		}
		if !filepath.IsAbs(s.Path) {
			t.Errorf("%s: path %q", s.Name, s.Path)
		}
	}
	for _, name := range daemons {
		if uids[users[name]] != name {
			t.Errorf("%s has user %d, who runs %q", name, users[name], uids[users[name]])
		}
	}
	for _, f := range dataFolders() {
		if f.mode.Perm()&0o006 != 0 {
			t.Errorf("%s: mode %v lets anyone read", f.path, f.mode)
		}
	}
}

func TestPortsAreFoundByBus(t *testing.T) {
	sys := t.TempDir()
	device := func(name, path string) {
		t.Helper()
		hw, class := filepath.Join(sys, "devices", path), filepath.Join(sys, "class/net", name)
		for _, dir := range []string{hw, class} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(hw, filepath.Join(class, "device")); err != nil {
			t.Fatal(err)
		}
	}
	device("eth0", "pci0000:00/0000:00:12.0/virtio3")
	device("eth1", "pci0000:00/0000:00:1c.0/0000:02:00.0")
	if err := os.MkdirAll(filepath.Join(sys, "class/net/lo"), 0o755); err != nil {
		t.Fatal(err)
	}
	found, err := interfaces(sys)
	if err != nil {
		t.Fatal(err)
	}
	if found["0000:00:12.0"] != "eth0" || found["0000:02:00.0"] != "eth1" {
		t.Errorf("got %v", found)
	}
	err = namePorts(sys, []board.Port{{Role: "eth0", Bus: "0000:00:12.0"}, {Role: "lan", Bus: "0000:00:13.0"}})
	if err == nil || err.Error() != "port lan: no network device at 0000:00:13.0" {
		t.Errorf("got %v: want the missing port named, and the other left alone", err)
	}
}

func TestSettings(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "kernel"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := setAll(root, [][2]string{{"net.none", "1"}, {"kernel.sysrq", "0"}})
	if got, _ := os.ReadFile(filepath.Join(root, "kernel/sysrq")); string(got) != "0" {
		t.Errorf("one bad setting keeps others from being made: %q", got)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "set net.none: ") {
		t.Errorf("got %v", err)
	}
}

func TestReaderEvents(t *testing.T) {
	event := func(kv ...string) uevent.Event {
		e := uevent.Event{"SUBSYSTEM": "usb", "DEVTYPE": "usb_interface", "ACTION": "add", "INTERFACE": "11/0/0"}
		for i := 0; i < len(kv); i += 2 {
			e[kv[i]] = kv[i+1]
		}
		return e
	}
	for _, c := range []struct {
		e    uevent.Event
		want bool
	}{
		{event(), true},
		{event("ACTION", "remove"), true},
		{event("INTERFACE", "255/0/0"), true}, // known to libccid by product
		{event("ACTION", "bind"), false},
		{event("INTERFACE", "8/6/80"), false}, // a stick
		{event("INTERFACE", "110/0/0"), false},
		{event("DEVTYPE", "usb_device"), false},
		{event("SUBSYSTEM", "block"), false},
		{uevent.Event{}, false},
	} {
		if got := readerEvent(c.e); got != c.want {
			t.Errorf("%v: got %v, want %v", c.e, got, c.want)
		}
	}
}

func TestReadersAreGrantedToPcscd(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	usb := filepath.Join(sys, "devices/usb1/1-1")
	put(filepath.Join(usb, "uevent"), "DEVNAME=bus/usb/001/002\nDEVTYPE=usb_device\n")
	put(filepath.Join(usb, "1-1:1.0/uevent"), "DEVTYPE=usb_interface\nINTERFACE=11/0/0\n")
	put(filepath.Join(usb, "1-1:1.1/uevent"), "DEVTYPE=usb_interface\nINTERFACE=3/0/0\n")
	put(filepath.Join(dev, "bus/usb/001/002"), "")
	bus := filepath.Join(sys, "bus/usb/devices")
	if err := os.MkdirAll(bus, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1-1:1.0", "1-1:1.1"} {
		if err := os.Symlink(filepath.Join(usb, name), filepath.Join(bus, name)); err != nil {
			t.Fatal(err)
		}
	}
	if nodes, err := grantReaders(sys, dev, os.Getuid()); len(nodes) != 1 || nodes[0] != "bus/usb/001/002" || err != nil {
		t.Errorf("got %v, %v; want one reader", nodes, err)
	}
}

func TestPowerKey(t *testing.T) {
	event := func(kind, code uint16, value uint32) []byte {
		b := make([]byte, 16, 24) // struct timeval
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, code)
		return binary.NativeEndian.AppendUint32(b, value)
	}
	const key, power = 1, 116
	press := bytes.Join([][]byte{event(key, 30, 1), event(key, power, 0), event(0, 0, 0), event(key, power, 1)}, nil)
	powerPressed := func(events []byte) (pressed bool) {
		readKey(bytes.NewReader(events), power, func(down bool) bool { pressed = pressed || down; return !down })
		return pressed
	}
	if !powerPressed(press) {
		t.Error("a press went unnoticed")
	}
	if powerPressed(press[:72]) {
		t.Error("another key, or a release, switches the box off")
	}
}

func TestFaultsKeepTheirAge(t *testing.T) {
	var out bytes.Buffer
	f := newFaults(slog.New(slog.NewTextHandler(&out, nil)))
	f.raise(wire.Fault{ID: "note", Severity: wire.Note})
	f.raise(wire.Fault{ID: "site.missing", Severity: wire.Alarm, Where: "/data/site"})
	first := f.list()
	f.raise(wire.Fault{ID: "site.missing", Severity: wire.Alarm, Where: "/data/site"})
	if again := f.list(); len(again) != 2 || again[0].ID != "site.missing" || again[0].Since != first[0].Since {
		t.Errorf("got %+v", again)
	}
	if n := strings.Count(out.String(), "site.missing"); n != 1 {
		t.Errorf("logged %d times, want once", n)
	}
	f.clear("site.missing")
	if !f.none("site.missing") || f.none("note") {
		t.Errorf("after clear: %+v", f.list())
	}
}

func TestAllReady(t *testing.T) {
	up := wire.Service{State: wire.ServiceReady}
	if !allReady([]wire.Service{up, up}) || allReady([]wire.Service{up, {State: wire.ServiceStarting}}) {
		t.Error("ready is when all are")
	}
}

func TestChosen(t *testing.T) {
	for text, want := range map[string]string{"none [integrity] confidentiality\n": "integrity", "[none] integrity": "none", "none": "", "": "", "[": ""} {
		if got := chosen(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// The start was so long ago as the kernel counts, whatever was done to the clock.
func TestBooted(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := booted(time.Time{}, now, time.Hour)
	if !at.Equal(now.Add(-time.Hour)) {
		t.Errorf("got %v", at)
	}
	if later := booted(at, now.Add(time.Minute+time.Second), time.Hour+time.Minute); !later.Equal(at) {
		t.Errorf("a clock that is slewed moves it to %v", later)
	}
	if stepped := booted(at, now.Add(24*time.Hour), time.Hour); !stepped.Equal(now.Add(23 * time.Hour)) {
		t.Errorf("a clock that was set leaves it at %v", stepped)
	}
}
