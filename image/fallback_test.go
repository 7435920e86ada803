package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"clinicgate/board"
	"clinicgate/firmware/efi"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/nvram"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/slot"
)

// spoilt is a release that must not stay, and what the box says of it.
type spoilt struct {
	change change
	starts int    // made of it so far; one that never comes up makes its last
	trial  string // seen while it runs
	why    string // remembered
}

// replaced puts a file in the place of a program.
func replaced(path, text string) change {
	return change{root: func(t testing.TB, root string) {
		if err := os.Remove(filepath.Join(root, path)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}}
}

// crashing puts a program in the place of another that says it is ready, works for
// a second, and ends.
func crashing(path string) change {
	return change{root: func(t testing.TB, root string) {
		source, err := moduleRoot()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(root, path), "./image/testdata/crashing")
		cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}}
}

var spoiltReleases = map[string]spoilt{
	"a kernel that panics": {
		change: change{kernel: func(line string) string {
			return strings.Replace(line, "quiet loglevel=3", "rdinit=/no quiet", 1)
		}},
		starts: slot.Starts,
		trial:  `Kernel panic - not syncing: VFS: Unable to mount root fs`,
		why:    `was started 3 times and did not come up`,
	},
	"a broken init": {
		change: replaced("usr/sbin/init", "no program"),
		starts: slot.Starts,
		trial:  `clinicgate: cannot go on: run /sbin/init: exec format error`,
		why:    `was started 3 times and did not come up`,
	},
	"a broken netd": {
		change: replaced("usr/bin/netd", "no program"),
		starts: 1,
		trial:  `clinicgate: the release on trial has netd end again and again`,
		why:    `has netd end again and again, last with .*exec format error`,
	},
	"a service that crash-loops": {
		change: crashing("usr/bin/syncd"),
		starts: 1,
		trial:  `clinicgate: the release on trial has syncd end again and again`,
		why:    `has syncd end again and again, last with exit status 7`,
	},
}

// A release that can't work is started on trial and given up: the box is back on
// the slot that worked by itself, and knows why. TestUpdate has the way of a
// release into the slot; here each lies there already.
func TestFallback(t *testing.T) {
	lab.Require(t, qemu.Firmware, lab.Program("sgdisk", "mcopy", "debugfs", "mkfs.erofs"))
	files := requireBoot(t)
	for name, s := range spoiltReleases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fallsBack(t, files, s)
		})
	}
}

func fallsBack(t *testing.T, files built, s spoilt) {
	cfg := onTrial(t, files, variant(t, files, "0.0.9", s.change), slot.Trial{Slot: slot.B, Version: "0.0.9", Starts: s.starts})
	if s.starts < slot.Starts { // its programs will run
		cfg.Stick = siteStick(t, "")
	}
	vm := start(t, cfg)
	expect(t, vm, `BdsDxe: starting Boot00CB "clinicgate b"`)
	expect(t, vm, s.trial)
	expect(t, vm, `BdsDxe: starting Boot00CA "clinicgate a"`)
	expect(t, vm, `clinicgate: release \S+, board qemu-x86_64, slot a`)
	if s.starts == slot.Starts { // judged by this start; the others were before it
		expect(t, vm, `clinicgate: release 0\.0\.9 `+s.why+`; back on a`)
	}
	vm.Kill() // TestLife has the rest of a start; what was said is in the journal already
	state := readJournal(t, cfg)
	if state.Trial != nil || state.Good != slot.A || !regexp.MustCompile(s.why).MatchString(state.Knows("0.0.9")) {
		t.Errorf("the journal says %+v", state)
	}
}

// onTrial is a box with a release in its slot b that the firmware is to start once,
// as the first half of an update leaves it.
func onTrial(t testing.TB, files, b built, trial slot.Trial) qemu.Config {
	t.Helper()
	cfg := machine(t, files)
	cfg.UEFI, cfg.Once = true, false
	command(t, "cp", "--sparse=always", files.Disk, cfg.Disk())
	hw := board.QEMUx86_64.Disk
	command(t, "dd", "if="+b.Root, "of="+cfg.Disk(), "bs=1M", fmt.Sprintf("seek=%d", 1+hw.ESP+hw.Root), "conv=notrunc", "status=none")
	command(t, "mcopy", "-i", cfg.Disk()+"@@1M", b.UKI["b"], "::/EFI/clinicgate/b.efi")
	writeJournal(t, cfg, slot.State{Good: slot.A, Version: "0.0.1", Trial: &trial})
	tellFirmware(t, cfg)
	return cfg
}

// tellFirmware writes the boot entries, and slot b for the next start.
func tellFirmware(t testing.TB, cfg qemu.Config) {
	t.Helper()
	vars := filepath.Join(cfg.Dir, "vars.fd")
	command(t, "cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", vars)
	id := regexp.MustCompile(`Partition unique GUID: (\S+)`).FindStringSubmatch(command(t, "sgdisk", "-i", "1", cfg.Disk()))
	if id == nil {
		t.Fatal("sgdisk names no GUID")
	}
	const lasting = nvram.Lasting | nvram.Boot | nvram.Runtime
	esp := efi.Partition{Number: 1, Start: 2048, Size: uint64(board.QEMUx86_64.Disk.ESP) * 2048, GUID: strings.ToLower(id[1])}
	all := []nvram.Variable{
		{Name: "BootOrder", Vendor: efi.Global, Attributes: lasting, Data: efi.Order(0xca, 0xcb)},
		{Name: "BootNext", Vendor: efi.Global, Attributes: lasting, Data: efi.Order(0xcb)},
	}
	for _, s := range []string{"a", "b"} {
		entry, err := efi.Option{Description: "clinicgate " + s, Partition: esp, Path: "/EFI/clinicgate/" + s + ".efi"}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, nvram.Variable{Name: "Boot00C" + strings.ToUpper(s), Vendor: efi.Global, Attributes: lasting, Data: entry})
	}
	if err := nvram.Add(vars, all...); err != nil {
		t.Fatal(err)
	}
}

// dataAt is where the data partition begins on the machine's disk, for e2fsprogs.
func dataAt(cfg qemu.Config) string {
	hw := board.QEMUx86_64.Disk
	return fmt.Sprintf("%s?offset=%d", cfg.Disk(), (1+hw.ESP+2*hw.Root)<<20)
}

func writeJournal(t testing.TB, cfg qemu.Config, state slot.State) {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "slots.json")
	script := filepath.Join(filepath.Dir(file), "script")
	for path, text := range map[string]string{file: string(text), script: "mkdir init\ncd init\nwrite " + file + " slots.json\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command(t, "debugfs", "-w", "-f", script, dataAt(cfg))
}

// readJournal is what a stopped box knows of its slots.
func readJournal(t testing.TB, cfg qemu.Config) slot.State {
	t.Helper()
	data := dataPartition(t, cfg)
	journal(t, data)
	text := command(t, "debugfs", "-R", "cat /init/slots.json", data)
	var s slot.State
	if err := json.Unmarshal([]byte(text[strings.Index(text, "{"):]), &s); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return s
}
