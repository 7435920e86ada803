package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lamp"
	"clinicgate/firmware/restart"
	"clinicgate/firmware/supervise"
	"clinicgate/firmware/uevent"
)

const (
	tick        = 5 * time.Second        // feeds the watchdog and republishes
	readerQuiet = 300 * time.Millisecond // a reader announces itself in several events
)

// ending is how the box is to end.
type ending string

const (
	powerOff ending = "poweroff"
	reboot   ending = "reboot"
)

// run starts the services and is the box's main loop; the watchdog is fed here
// and nowhere else, so that it vouches for this loop. It returns only if the
// kernel refuses to end.
func (b *box) run() error {
	ctx, stopAll := context.WithCancel(context.Background())
	defer stopAll()
	changed := make(chan struct{}, 1)
	b.grant()
	sup := b.supervisor(changed)
	stopped := make(chan struct{})
	go b.witness.learn(b)
	go func() { defer close(stopped); sup.Run(ctx) }()

	endings := b.endings
	readers := make(chan struct{}, 1)
	if b.events != nil {
		b.background("device events", func() error {
			return b.events.Run(ctx, func(e uevent.Event) {
				if e == nil || readerEvent(e) {
					wake(readers)
				}
			})
		})
	}
	if b.lights != nil {
		b.background("lamp", func() error { return b.front.shine(ctx, b.lights) })
	}
	b.background("TPM", func() error { return b.awaitTPM(ctx) })
	if asked, err := wasAsked(resetAsked); err != nil {
		b.log.Error("button", "err", err)
	} else {
		b.front.awaitConfirmation(asked, time.Now())
	}
	b.front.know(func(o *lamp.Own) { o.Trial = b.slots.onTrial() })
	b.background("control socket", func() error { return b.control(ctx, sup, endings) })
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil { // Ctrl-Alt-Del is SIGINT
		b.log.Warn("take over Ctrl-Alt-Del", "err", err)
	}
	if b.slots.onTrial() {
		limit := time.AfterFunc(trialLimit, b.endTrial)
		defer limit.Stop()
	}
	how := b.loop(sup, changed, readers, endings, signals)
	say("%s: stopping", how)
	for _, s := range sup.Services() {
		b.log.Info("service at the end", "service", s.Name, "state", s.State, "restarts", s.Restarts, "rss", s.RSS)
	}
	stopAll()
	b.awaitStop(stopped)
	b.holdReset(sup.Services())
	return b.end(how)
}

func (b *box) supervisor(changed chan struct{}) *supervise.Supervisor {
	cfg := supervise.Config{
		Dir: notifyDir, Cgroup: cgroupDir, Files: openFiles, Policy: restart.Default,
		Output: b.book.Output, Changed: func() { wake(changed) }, Log: b.log,
	}
	if !b.faults.none("cgroup") {
		cfg.Cgroup = ""
	}
	return supervise.New(cfg, services(b.cmd.board)...)
}

// loop works until somebody wants the box to end.
func (b *box) loop(sup *supervise.Supervisor, changed, readers <-chan struct{}, endings <-chan ending, signals <-chan os.Signal) ending {
	beat := time.NewTicker(tick)
	defer beat.Stop()
	var quiet <-chan time.Time
	b.beat()
	for {
		select {
		case <-beat.C:
			b.beat()
			b.pressed(b.front.tick(time.Now()))
			b.publish(sup.Services())
		case <-changed:
			b.publish(sup.Services())
		case <-readers:
			quiet = time.After(readerQuiet)
		case <-quiet:
			b.readersChanged(sup)
		case how := <-endings:
			return how
		case sig := <-signals:
			if sig == unix.SIGINT {
				return reboot
			}
			return powerOff
		}
	}
}

// grant gives the readers that are there to pcscd and reports whether they are
// others than before.
func (b *box) grant() bool {
	nodes, err := grantReaders("/sys", "/dev", uidPcscd)
	if err != nil {
		b.log.Error("card readers", "err", err)
	}
	changed := !slices.Equal(nodes, b.nodes)
	b.nodes = nodes
	return changed
}

// readersChanged lets pcscd see other readers than it has seen at its start. The
// events of the box's own start come here too, late, and change nothing.
func (b *box) readersChanged(sup *supervise.Supervisor) {
	if b.grant() {
		say("card readers: %d", len(b.nodes))
		sup.Restart("pcscd", fmt.Sprintf("card readers changed, %d now", len(b.nodes)))
	}
}

// beat shows that the main loop runs.
func (b *box) beat() {
	if err := b.dog.feed(); err != nil {
		b.log.Error("feed watchdog", "err", err)
	}
}

// awaitStop waits for the services to end, still feeding the watchdog; should
// they hang for longer than any grace, the box ends without them.
func (b *box) awaitStop(stopped <-chan struct{}) {
	beat := time.NewTicker(tick)
	defer beat.Stop()
	limit := time.After(30 * time.Second)
	for {
		select {
		case <-stopped:
			return
		case <-beat.C:
			b.beat()
		case <-limit:
			say("services do not end, going on without")
			return
		}
	}
}

// background runs f beside the main loop; its end is logged.
func (b *box) background(name string, f func() error) {
	go func() {
		if err := f(); err != nil {
			b.log.Error(name, "err", err)
		}
	}()
}

// wake tells a loop that there is something to look at; twice is once.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
