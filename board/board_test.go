package board

import (
	"regexp"
	"strings"
	"testing"
)

var (
	pciPath = regexp.MustCompile(`^[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
	roles   = map[string]bool{"wan1": true, "wan2": true, "lan": true, "ha": true, "svc": true}
)

// A board with a slip here boots and then lacks a port or a watchdog, which no
// compiler sees.
func TestBoards(t *testing.T) {
	names := map[string]bool{}
	for _, b := range All {
		t.Run(b.Name, func(t *testing.T) {
			if b.Name == "" || names[b.Name] || Find(b.Name) != b {
				t.Errorf("name %q is empty or taken", b.Name)
			}
			names[b.Name] = true
			checkPorts(t, b)
			checkModules(t, b.Modules)
			if b.Console.Device == "" || strings.Contains(b.Console.Device, "/") || b.Console.Baud < 9600 {
				t.Errorf("console %+v, want a name under /dev and a speed", b.Console)
			}
			if (b.Watchdog.Driver == "") == (b.Watchdog.Why == "") {
				t.Errorf("watchdog %+v, want either a driver or the reason for none", b.Watchdog)
			}
			if (b.Lamp.Good == "") != (b.Lamp.Why != "") || (b.Lamp.Good == "") != (b.Lamp.Bad == "") {
				t.Errorf("lamp %+v, want both lights or the reason for none", b.Lamp)
			}
			if (b.Button.Device == "") != (b.Button.Why != "") || (b.Button.Device == "") != (b.Button.Code == 0) {
				t.Errorf("button %+v, want a device and a code or the reason for none", b.Button)
			}
			if b.Watchdog.Driver != "" && b.Watchdog.Limit < 10 {
				t.Errorf("watchdog limit %d s, want 10 or more: a busy box must not be reset", b.Watchdog.Limit)
			}
			if d := b.Disk; d.ESP < 33 || d.Root < 16 || d.Data < 64 {
				t.Errorf("disk %+v MiB: FAT32 wants an ESP of 33, the rest room to work", d)
			}
		})
	}
}

func checkPorts(t *testing.T, b *Board) {
	t.Helper()
	seen := map[string]bool{}
	for _, p := range b.Ports {
		if !roles[p.Role] || seen[p.Role] || b.Port(p.Role) == nil {
			t.Errorf("port %+v: role unknown or twice", p)
		}
		if !pciPath.MatchString(p.Bus) || seen[p.Bus] {
			t.Errorf("port %+v: want a PCI address of its own", p)
		}
		seen[p.Role], seen[p.Bus] = true, true
	}
	for _, need := range []string{"wan1", "lan"} {
		if b.Port(need) == nil {
			t.Errorf("no port has the role %s", need)
		}
	}
}

func checkModules(t *testing.T, m Modules) {
	t.Helper()
	seen := map[string]bool{}
	for _, list := range [][]string{m.Initrd, m.System, m.Stick, m.UEFI} {
		for _, line := range list {
			name := strings.Fields(line)[0]
			if seen[name] || strings.Contains(name, "-") {
				t.Errorf("module %q twice, or not as lsmod spells it", name)
			}
			seen[name] = true
		}
	}
}

func TestFindUnknown(t *testing.T) {
	if b := Find("toaster"); b != nil {
		t.Errorf("got %v", b)
	}
	if p := QEMUx86_64.Port("svc"); p != nil {
		t.Errorf("got %v", p)
	}
}
