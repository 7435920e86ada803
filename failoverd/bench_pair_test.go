package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab/figures"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

// pairRuns is how often each fault is made.
const pairRuns = 10

// A contender is a pair's program with its settings. Its boxes have equal priority
// and don't preempt: each fault meets whoever is master.
type contender interface {
	start(*gateway)
	kill(*gateway)        // as a crash does
	stop(*gateway)        // in an orderly way
	changes(*gateway) int // how often this box has become master
}

// A fault is made on the master and mended again.
type fault struct {
	name       string
	make, mend func(contender, *crossing, *gateway)
}

var faults = [...]fault{
	{"kill", func(c contender, _ *crossing, g *gateway) { c.kill(g) }, func(c contender, _ *crossing, g *gateway) { c.start(g) }},
	{"linkdown", func(_ contender, x *crossing, g *gateway) { x.port(g, "down") }, func(_ contender, x *crossing, g *gateway) { x.port(g, "up") }},
	{"isolation", func(_ contender, x *crossing, g *gateway) { x.silence(g, true) }, func(_ contender, x *crossing, g *gateway) { x.silence(g, false) }},
	{"stop", func(c contender, _ *crossing, g *gateway) { c.stop(g) }, func(c contender, _ *crossing, g *gateway) { c.start(g) }},
}

// port takes the clinic's switch port of a box down or up.
func (x *crossing) port(g *gateway, state string) { x.ip(x.sw, "link", "set", "dev", g.name, state) }

// silence takes a box off every cable though all links stay up.
func (x *crossing) silence(g *gateway, off bool) {
	rule, master := "-D", []string{"master", "br0"}
	if off {
		rule, master = "-I", []string{"nomaster"}
	}
	for _, chain := range [][]string{{"INPUT", "-i"}, {"OUTPUT", "-o"}} {
		_, err := proc.Run(x.t.Context(), g.space, "iptables", rule, chain[0], chain[1], "ha", "-j", "DROP")
		x.check(err)
	}
	var both sync.WaitGroup
	for _, sw := range []*netns.Space{x.sw, x.wan} {
		both.Go(func() { x.ip(sw, append([]string{"link", "set", "dev", g.name}, master...)...) })
	}
	both.Wait()
}

// master is the one box that has both of the pair's addresses; nil: not one alone.
func (x *crossing) master() *gateway {
	var found *gateway
	for _, g := range []*gateway{x.a, x.b} {
		text := x.ip(g.space, "-4", "-o", "addr", "show")
		has := strings.Count(text, " "+shared+"/") + strings.Count(text, " "+outside+"/")
		switch {
		case has == 0:
		case has == 2 && found == nil:
			found = g
		default:
			return nil
		}
	}
	return found
}

// settle waits until one box has been the master for a while, with traffic through
// it, and returns it.
func (x *crossing) settle(s *stream, interval time.Duration) *gateway {
	x.t.Helper()
	var m *gateway
	since := time.Now()
	for end := since.Add(30*time.Second + 20*interval); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		now := x.master()
		if lost, _ := s.since(time.Now().Add(-300 * time.Millisecond)); now != m || now == nil || lost > 0 {
			m, since = now, time.Now()
			continue
		}
		if time.Since(since) > 400*time.Millisecond+5*interval {
			return m
		}
	}
	for _, g := range []*gateway{x.a, x.b} {
		x.t.Logf("%s:\n%s", g.name, x.ip(g.space, "-4", "-o", "addr", "show"))
	}
	x.t.Fatal("the pair never settles")
	return nil
}

// suffer is one fault: how many probes it cost and the longest hole.
func (x *crossing) suffer(s *stream, interval time.Duration, do func(*gateway), mend func(*gateway)) (lost int, hole time.Duration) {
	x.t.Helper()
	m := x.settle(s, interval)
	began := time.Now()
	do(m)
	// A hole can begin late, when a box that is dead already was still forwarding.
	time.Sleep(300*time.Millisecond + 5*interval)
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if left, _ := s.since(time.Now().Add(-300 * time.Millisecond)); left == 0 {
			break
		}
	}
	lost, hole = s.since(began)
	mend(m)
	return lost, hole
}

// listening makes the machines around the pair take every gratuitous ARP: Linux
// ignores one that comes within a second of the last, which the faults here, one after
// the other, would meet more often than a clinic does.
func (x *crossing) listening() {
	for s, dev := range map[*netns.Space]string{x.desk: "lan", x.desk2: "lan", x.server: "eth0"} {
		_, err := proc.Run(x.t.Context(), s, "sysctl", "-qw", "net.ipv4.neigh."+dev+".locktime=0")
		x.check(err)
	}
}

// A series is what was measured, by metric.
type series map[string][]float64

func (s series) add(metric string, v float64) { s[metric] = append(s[metric], v) }

// BenchmarkPair measures what a clinic notices of a box's death, beside keepalived
// with conntrackd in the same place. It writes build/bench/pair.json; run it with
// -benchtime 1x -timeout 60m. PAIR_HOGS is how long the boxes are kept busy: 10m.
func BenchmarkPair(b *testing.B) {
	const fast, keepDefault = 10 * time.Millisecond, time.Second
	found := series{}
	for _, c := range []struct {
		name     string
		interval time.Duration
		make     func(*crossing, time.Duration) contender
	}{
		{"ours/fast", fast, newOurs}, {"keepalived/fast", fast, newKeeper},
		{"ours/default", pairDefault, newOurs}, {"keepalived/default", keepDefault, newKeeper},
	} {
		b.Run(c.name, func(b *testing.B) { holes(b, found, c.name, c.interval, c.make) })
	}
	b.Run("ours/flows", func(b *testing.B) { survivors(b, found, "ours/flows", fast, newOurs) })
	b.Run("keepalived/flows", func(b *testing.B) { survivors(b, found, "keepalived/flows", fast, newKeeper) })
	long := 10 * time.Minute
	if text := os.Getenv("PAIR_HOGS"); text != "" {
		var err error
		if long, err = time.ParseDuration(text); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("keepalived/hogs", func(b *testing.B) { hogged(b, found, "keepalived/hogs", fast, min(long, 20*time.Second), newKeeper) })
	b.Run("ours/hogs", func(b *testing.B) { hogged(b, found, "ours/hogs", fast, long, newOurs) })
	writePair(b, found)
}

// holes makes every fault again and again.
func holes(b *testing.B, found series, name string, interval time.Duration, make func(*crossing, time.Duration) contender) {
	x := layCrossing(b)
	x.listening()
	c := make(x, interval)
	c.start(x.a)
	c.start(x.b)
	echo(b, x.server, "192.0.2.10:9001")
	s := probes(b, x.desk, "192.0.2.10:9001")
	for range pairRuns {
		for _, f := range faults {
			lost, hole := x.suffer(s, interval, func(g *gateway) { f.make(c, x, g) }, func(g *gateway) { f.mend(c, x, g) })
			found.add(name+"/"+f.name+".hole_ms", float64(hole)/1e6)
			found.add(name+"/"+f.name+".lost", float64(lost))
		}
		if o, is := c.(*own); is { // the way for maintenance
			lost, _ := x.suffer(s, interval, o.handover, o.release)
			found.add(name+"/handover.lost", float64(lost))
		}
	}
	b.ReportMetric(figures.Median(found[name+"/isolation.hole_ms"]), "isolation-ms")
}

// manyFlows is how many connections are open when the master dies.
const manyFlows = 200

// survivors counts the open connections that outlive the master's silence. Half of
// them are pushed by the server, some share a source port.
func survivors(b *testing.B, found series, name string, interval time.Duration, make func(*crossing, time.Duration) contender) {
	x := layCrossing(b)
	x.listening()
	c := make(x, interval)
	c.start(x.a)
	c.start(x.b)
	echo(b, x.server, "192.0.2.10:9001")
	s := probes(b, x.desk, "192.0.2.10:9001")
	x.settle(s, interval)
	var talks []*talk
	for i := range manyFlows {
		from, port := x.desk, 0
		if i%4 > 1 {
			from, port = []*netns.Space{x.desk, x.desk2}[i%2], 40000+i/4
		}
		talks = append(talks, x.open(fmt.Sprint("flow ", i), from, port, i%4 == 1))
	}
	time.Sleep(2 * time.Second) // for both to have told all
	m := x.settle(s, interval)
	x.silence(m, true)
	x.eventually("the other box is master", func() bool {
		o := x.other(m)
		t := x.ip(o.space, "-4", "-o", "addr")
		return strings.Contains(t, shared+"/")
	})
	alive := 0
	results := results(talks)
	for _, err := range results {
		if err == nil {
			alive++
		} else {
			b.Log(err)
		}
	}
	x.silence(m, false)
	found.add(name+"/survived_pct", 100*float64(alive)/manyFlows)
	b.ReportMetric(float64(alive), "survived")
}

func (x *crossing) other(g *gateway) *gateway {
	if g == x.a {
		return x.b
	}
	return x.a
}

// results asks every connection at the same time.
func results(talks []*talk) []error {
	all := make([]error, len(talks))
	done := make(chan struct{})
	for i, tk := range talks {
		go func() { all[i] = tk.works(15 * time.Second); done <- struct{}{} }()
	}
	for range talks {
		<-done
	}
	return all
}

// hogged counts takeovers while nobody is dead and four programs want the
// processors.
func hogged(b *testing.B, found series, name string, interval, long time.Duration, make func(*crossing, time.Duration) contender) {
	x := layCrossing(b)
	x.listening()
	c := make(x, interval)
	c.start(x.a)
	c.start(x.b)
	echo(b, x.server, "192.0.2.10:9001")
	s := probes(b, x.desk, "192.0.2.10:9001")
	x.settle(s, interval)
	s.end()
	before := c.changes(x.a) + c.changes(x.b)
	for i := range 4 {
		hog, err := proc.Start(proc.Spec{Name: fmt.Sprint("hog", i), Log: b.TempDir() + "/hog", Args: []string{"sh", "-c", "while :; do :; done"}})
		x.check(err)
		b.Cleanup(hog.Kill)
	}
	time.Sleep(long)
	wrong := float64(c.changes(x.a) + c.changes(x.b) - before)
	found.add(name+"/false_takeovers", wrong)
	b.ReportMetric(wrong, "false")
	b.ReportMetric(long.Seconds(), "s")
}

// own is failoverd, with the rights that init gives it.
type own struct{ x *crossing }

// pairDefault is the interval of a site file that names none.
const pairDefault = 50 * time.Millisecond

func newOurs(x *crossing, interval time.Duration) contender {
	for i, g := range []*gateway{x.a, x.b} {
		g.interval, g.equal, g.urgent = interval, true, true
		g.configure(100, 2+i, 3-i, true)
		x.check(os.Chown(g.dir, 202, 200))
	}
	return &own{x}
}

func (o *own) start(g *gateway) { g.node.start() }
func (o *own) kill(g *gateway)  { g.proc.Kill() }
func (o *own) stop(g *gateway)  { o.x.check(g.proc.Signal(syscall.SIGTERM)) }

func (o *own) changes(g *gateway) int {
	out, err := os.ReadFile(g.proc.Log)
	o.x.check(err)
	return strings.Count(string(out), `"now":"master"`)
}

func (o *own) handover(g *gateway) {
	_, err := g.asks("/handover")
	o.x.check(err)
}

func (o *own) release(g *gateway) {
	_, err := g.asks("/release")
	o.x.check(err)
}
