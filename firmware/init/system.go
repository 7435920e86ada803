package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/board"
	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/logbook"
	"clinicgate/firmware/module"
	"clinicgate/firmware/osrelease"
	"clinicgate/firmware/probation"
	"clinicgate/firmware/uevent"
	"clinicgate/firmware/wire"
)

const (
	runDir    = "/run/clinicgate"
	notifyDir = "/run/notify"
	cgroupDir = "/sys/fs/cgroup"
	logDir    = "/data/log"
)

// openFiles is the limit for each program; a clinic has dozens of clients.
const openFiles = 4096

// box is the running system as PID 1 sees it.
type box struct {
	cmd     cmdline
	release string // software release
	book    *logbook.Book
	log     *slog.Logger
	faults  *faults
	dog     *watchdog
	state   wire.Init // what does not change after the start
	data    bool      // /data is the data partition
	slots   *slots
	site    *probation.Site
	endings chan ending // how somebody wants it to end
	events  *uevent.Listener
	front   *front
	lights  *lights   // nil: none
	nodes   []string  // device nodes of the readers that pcscd knows
	seen    published // what was said and published last
	witness witness
}

// system makes the box ready and runs it. It returns only when it can't.
func system() error {
	if err := mountAll(lateMounts); err != nil {
		return err
	}
	cmd, err := readCmdline()
	if err != nil {
		return err
	}
	b := newBox(cmd)
	say("release %s, board %s, slot %s", b.release, cmd.board.Name, cmd.slot)
	b.prepare()
	return b.run()
}

func newBox(cmd cmdline) *box {
	b := &box{cmd: cmd, site: newSite(), front: newFront(), release: osrelease.Version(), endings: make(chan ending, 4), book: logbook.New(logbook.Config{Lines: 300, Limit: 2 << 20})}
	b.log = slog.New(slog.NewJSONHandler(b.book.Output("init"), nil)).With("program", "init")
	b.faults = newFaults(b.log)
	return b
}

// prepare brings the box to where services can start. Each step is tried whatever
// became of the others: a box with a dead port still has work to do. What fails
// is a fault, on the console, in the log and in init.json.
func (b *box) prepare() {
	find := blockdev.Finder{Sys: "/sys", Dev: "/dev"}
	hw := b.cmd.board
	b.try(wire.Alarm, "kernel", "run-folders", "restart the box; if it stays, replace it", makeFolders(runFolders))
	b.try(wire.Warning, "kernel", "setting", "tell cloud ops; the box works without", setAll("/proc/sys", slices.Concat(routing, hardening)))
	events, err := uevent.Open() // before the drivers: no device's arrival is missed
	b.events = events
	b.try(wire.Warning, "devices", "device.events", "restart the box; card readers plugged in later are not seen", err)
	b.try(wire.Warning, "modules", "module", "tell cloud ops: this release does not fit the board", module.LoadList("/", systemModules))
	if err := watchPowerKey("/sys", "/dev", b.endings); err != nil { // pressed now, it counts once services run
		b.log.Warn("power button", "err", err)
	}
	b.lights, err = b.frontPanel("/sys", "/dev")
	b.try(wire.Warning, "front", "lamp", "tell cloud ops; the box works without its light", err)
	dog, err := openWatchdog(hw.Watchdog)
	b.dog = dog
	b.try(wire.Warning, "watchdog", "watchdog", "restart the box; without a watchdog a hang needs a person", err)
	b.try(wire.Alarm, "ports", "port.missing", "the box may be broken: compare with its label, then replace it", namePorts("/sys", hw.Ports))
	b.try(wire.Alarm, "lo", "loopback", "restart the box", loopbackUp())
	b.try(wire.Warning, "hostname", "hostname", "restart the box", unix.Sethostname([]byte("gateway")))
	b.try(wire.Warning, "limits", "cgroup", "tell cloud ops; programs run without memory limits", enableCgroups(cgroupDir))
	b.try(wire.Warning, "devices", "device", "tell cloud ops: this release does not fit the board", grantDevices(hw))
	if err := grantTPM(); !errors.Is(err, fs.ErrNotExist) { // awaitTPM deals with that
		b.try(wire.Warning, "devices", "device", "tell cloud ops: this release does not fit the board", err)
	}
	b.prepareData(find)
	b.prepareSlots(find)
	b.try(wire.Alarm, "random numbers", "entropy", "keys made now would be weak: wait, or restart the box", awaitEntropy(10*time.Second))
	b.try(wire.Warning, "modules", "module.lock", "tell cloud ops", os.WriteFile("/proc/sys/kernel/modules_disabled", []byte("1"), 0))
	b.state = wire.Init{
		Board: hw.Name, Kernel: kernelRelease(), Slot: b.cmd.slot, Watchdog: b.dog.name,
		Booted: booted(time.Time{}, time.Now(), uptime()), BootReason: b.bootReason(),
		SecureBoot: b.slots.secureBoot(), Lockdown: lockdown(),
	}
}

// prepareData mounts the data partition, lets the log begin there and sees to it
// that the box has a site.
func (b *box) prepareData(find blockdev.Finder) {
	err := mountData(find)
	var fs unix.Statfs_t
	b.data = unix.Statfs("/data", &fs) == nil && fs.Type == unix.EXT4_SUPER_MAGIC
	b.try(wire.Alarm, "/data", "data.unusable", "records can't be stored: replace the disk, or the box", err)
	if !b.data {
		return
	}
	b.try(wire.Alarm, "/data", "data.reset", "restart the box: it goes on where it stopped; if it stays so, destroy the disk", b.carryReset(find))
	b.try(wire.Alarm, "/data", "data.folders", "free space on the data partition, or replace the disk", makeFolders(dataFolders()))
	b.book.Keep(logDir)
	b.try(wire.Alarm, "site file", "site.return", "`gatectl site check` tells what is wrong; bring the site file again", b.endSiteTrial())
	err = importSite(find)
	b.try(wire.Alarm, "/data/site", "site.missing", "put a stick labelled CGSITE with site.toml, anchors/ and secrets/ into the box and restart it", err)
	if err == nil {
		b.try(wire.Alarm, "/data", "data.folders", "restart the box", makeFolders(dataFolders())) // the import replaces two
	}
}

// prepareSlots judges how the box was started, if a release is on trial.
func (b *box) prepareSlots(find blockdev.Finder) {
	const do = "tell cloud ops; the box works, but can't be updated"
	var err error
	b.slots, err = openSlots(b.cmd.slot, find, b.data)
	b.try(wire.Warning, "slots", "slot.unusable", do, err)
	b.try(wire.Warning, "slots", "slot.unusable", do, b.slots.grant())
	if on := b.slots.secureBoot(); on != "" {
		say("Secure Boot is %s, kernel lockdown: %s", on, lockdown())
	}
	last := b.slots.state.Last
	again, err := b.slots.start(time.Now())
	b.try(wire.Warning, "slots", "slot.start", do, err)
	if again && err == nil {
		say("a release on trial did not come up, trying it again")
		b.endings <- reboot
	}
	if ended := b.slots.state.Last; ended != last {
		say("%s", ended)
	}
	if good := b.slots.state.Good; good != "" && b.slots.why == "" && string(good) != b.cmd.slot && !b.slots.onTrial() {
		b.try(wire.Alarm, "slots", "slot.fallback", "tell cloud ops: the box runs its other slot, and has no spare",
			fmt.Errorf("slot %s is committed, the firmware started %s", good, b.cmd.slot))
	}
	if b.slots.onTrial() {
		say("release %s is on trial", b.slots.state.Trial.Version)
	}
}

// endTrial ends a trial that nobody has judged in time.
func (b *box) endTrial() {
	if err := b.slots.fail(fmt.Sprintf("was not found well within %v", trialLimit), true, time.Now()); err != nil {
		return // judged meanwhile
	}
	say("the trial ends without a verdict")
	b.endings <- reboot
}

// try states the outcome of a step of the start.
func (b *box) try(severity wire.Severity, where, id, do string, err error) {
	if err == nil {
		return
	}
	what := strings.ReplaceAll(err.Error(), "\n", "; ")
	say("FAULT %s: %s. %s", where, what, do)
	b.faults.raise(wire.Fault{ID: id, Severity: severity, Where: where, What: what, Do: do})
}

// endedFile says how the box ended last: "running" until it ends in order.
const endedFile = "/data/init/ended"

// bootReason tells why the box starts, and marks it as running.
func (b *box) bootReason() string {
	if !b.data {
		return "unknown"
	}
	last, err := os.ReadFile(endedFile)
	b.try(wire.Warning, endedFile, "data.write", "free space on the data partition", durable.WriteFile(endedFile, []byte("running\n"), 0o600))
	switch {
	case b.dog.fired:
		return "watchdog"
	case errors.Is(err, os.ErrNotExist), string(last) == "poweroff\n":
		return "power-on"
	case string(last) == "reboot\n":
		return "reboot"
	default:
		return "unknown" // power cut, reset or crash
	}
}

// enableCgroups turns on what the supervisor limits.
func enableCgroups(root string) error {
	if err := os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory +pids"), 0); err != nil {
		return fmt.Errorf("enable limits: %w", err)
	}
	return nil
}

// lockdown is how far the kernel is locked; empty when it does not tell.
func lockdown() string {
	const dir = "/sys/kernel/security"
	if err := unix.Mount("securityfs", dir, "securityfs", safe|unix.MS_RDONLY, ""); err != nil {
		return ""
	}
	defer unix.Unmount(dir, 0)
	text, err := os.ReadFile(dir + "/lockdown")
	if err != nil {
		return ""
	}
	return chosen(string(text))
}

// chosen is the word in brackets of "none [integrity] confidentiality".
func chosen(text string) string {
	_, after, _ := strings.Cut(text, "[")
	word, _, ok := strings.Cut(after, "]")
	if !ok {
		return ""
	}
	return word
}

// grantDevices gives device nodes to the services that drive them.
func grantDevices(hw *board.Board) error {
	var all []error
	for _, n := range deviceNodes(hw.Console.Device) {
		all = append(all, n.ensure())
	}
	return errors.Join(all...)
}

// awaitEntropy waits until the kernel's random numbers are good for keys.
func awaitEntropy(limit time.Duration) error {
	var b [1]byte
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		_, err := unix.Getrandom(b[:], unix.GRND_NONBLOCK)
		if err != unix.EAGAIN || time.Now().After(end) {
			return err
		}
	}
}

// uptime is the time since the kernel started.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
