package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/panel/day"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// Where `make deps` puts what drives the browser and what checks the page.
const (
	driver = "../../build/lab/browser/node_modules"
	axe    = "../../build/lab/page/node_modules"
)

// A stage is the page's program with the other programs' wire files, and a browser.
type stage struct {
	testing.TB
	dir, bin, port, plain string
	trusted               string
	panel                 *exec.Cmd
	browser               *exec.Cmd
	in                    io.WriteCloser
	out                   *bufio.Scanner
	pids                  map[string]int
}

// newStage builds the program and puts players in the other programs' places:
// processes of their names, that do nothing.
func newStage(tb testing.TB) *stage {
	tb.Helper()
	lab.Require(tb, lab.Program("node", "chromium"), func() error {
		if _, err := os.Stat(driver); err != nil {
			return fmt.Errorf("the browser's driver: %w; `make deps` installs it", err)
		}
		_, err := os.Stat(axe)
		return err
	})
	s := &stage{TB: tb, dir: tb.TempDir(), port: freePort(tb), plain: freePort(tb), pids: map[string]int{}}
	s.bin = filepath.Join(s.dir, "panel")
	s.try(os.MkdirAll(s.path("run"), 0o755), os.MkdirAll(s.path("secrets"), 0o755))
	if out, err := exec.Command("go", "build", "-o", s.bin, ".").CombinedOutput(); err != nil {
		tb.Fatalf("build: %v\n%s", err, out)
	}
	world, err := pki.New(time.Now())
	s.try(err)
	gateway, err := world.Gateway(net.ParseIP("127.0.0.1"))
	s.try(err, gateway.Write(s.path("secrets"), "tls"))
	sum := sha256.Sum256(gateway.Cert.RawSubjectPublicKeyInfo)
	s.trusted = base64.StdEncoding.EncodeToString(sum[:])
	s.try(os.WriteFile(s.path("site.toml"), fmt.Appendf(nil, "[site]\nname = \"Peñafiel\"\ncode = \"ES-VA-047\"\n[panel]\nlisten = \"127.0.0.1:%s\"\nplain = \"127.0.0.1:%s\"\n", s.port, s.plain), 0o644))
	for _, name := range []string{"init", "netd", "failoverd", "cardauth", "syncd"} {
		s.player(name)
	}
	return s
}

func (s *stage) path(name string) string { return filepath.Join(s.dir, name) }

func (s *stage) try(errs ...error) {
	s.Helper()
	for _, err := range errs {
		if err != nil {
			s.Fatal(err)
		}
	}
}

func freePort(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// start starts a command that ends with the test.
func (s *stage) start(cmd *exec.Cmd) {
	s.Helper()
	s.try(proc.Bound(cmd))
	s.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (s *stage) player(name string) {
	s.Helper()
	sleep, err := exec.LookPath("sleep")
	s.try(err, os.Symlink(sleep, s.path("play-"+name)))
	s.try(os.MkdirAll(s.path("players"), 0o755), os.Rename(s.path("play-"+name), s.path("players/"+name)))
	cmd := exec.Command(s.path("players/"+name), "1000")
	s.start(cmd)
	s.pids[name] = cmd.Process.Pid
}

// says publishes a program's wire file.
func (s *stage) says(name string, v interface{ Head() *wire.Header }, faults ...wire.Fault) {
	s.Helper()
	*v.Head() = wire.Header{V: wire.Version, Program: name, Release: "0.9.0", Published: time.Now().UTC(), PID: s.pids[name], Faults: faults}
	s.try(wirefile.Publish(s.path("run"), name+".json", v, 0o644))
}

// turn starts the page's program, or starts it again.
func (s *stage) turn() {
	s.Helper()
	s.panel = exec.Command(s.bin, "-site", s.path("site.toml"), "-secrets", s.path("secrets"), "-state", s.path("state"), "-run", s.path("run"))
	s.panel.Stderr = os.Stderr
	s.try(proc.Bound(s.panel))
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", "127.0.0.1:"+s.port)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			s.Fatalf("the page does not come: %v", err)
		}
	}
}

// stop ends the page's program: as a power cut would, or in order.
func (s *stage) stop(sig os.Signal) {
	s.Helper()
	s.try(s.panel.Process.Signal(sig))
	_ = s.panel.Wait()
}

// yesterday is a line's day with an outage in it.
func (s *stage) yesterday(now time.Time) {
	s.Helper()
	var d day.Day
	for m := range day.Minutes {
		at := now.Add(time.Duration(m-day.Minutes) * time.Minute)
		a := wire.Uplink{Name: "Fibra", State: wire.UplinkUp, RTTMS: 8 + float64(m*7%5)}
		b := wire.Uplink{Name: "Radio", State: wire.UplinkUp, RTTMS: 36 + float64(m*13%17) + float64(m%360)/20, LossPct: 1}
		switch {
		case m > 610 && m < 655:
			a.State = wire.UplinkDown
		case m > 900 && m < 940:
			b.State, b.RTTMS = wire.UplinkDegraded, 140
		}
		d.Add(at, []wire.Uplink{a, b})
	}
	s.try(os.MkdirAll(s.path("state"), 0o700), os.WriteFile(s.path("state/day"), d.Append(nil), 0o600))
}

// clinic publishes a clinic's morning: "good", "backup" or "offline".
func (s *stage) clinic(how string) {
	s.Helper()
	now := time.Now().UTC()
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	var netFaults, syncFaults []wire.Fault
	ups := []wire.Uplink{
		{Name: "Fibra", State: wire.UplinkUp, Since: before(26 * time.Hour), RTTMS: 9},
		{Name: "Radio", State: wire.UplinkUp, Since: before(50 * time.Hour), RTTMS: 41, LossPct: 1},
	}
	n := &wire.Net{LAN: wire.LAN{Port: "lan", Carrier: true}, Uplinks: ups, Active: "Fibra", Tunnels: []wire.Tunnel{{Name: "hub", State: wire.TunnelUp}}}
	y := &wire.Sync{
		Lanes:        []wire.Lane{{Name: "stat", Delivered: 7}, {Name: "routine", Delivered: 31}, {Name: "bulk", Delivered: 2}},
		Destinations: []wire.Destination{{Name: "hospital", State: "ok"}, {Name: "ehr", State: "ok"}},
		Cache:        wire.Cache{Resources: 1284, Bytes: 9 << 20, LastContact: before(12 * time.Second)}, Disk: wire.Disk{Total: 1000, Free: 810},
	}
	if how != "good" {
		ups[0].State, ups[0].Since, n.Active = wire.UplinkNoLink, before(4*time.Minute), "Radio"
		netFaults = append(netFaults, wire.Fault{ID: "uplink.no-link", Severity: wire.Alarm, Where: "port wan1", What: "no carrier on wan1 (uplink Fibra)", Do: "check the cable between wan1 and the modem of Fibra", Since: before(4 * time.Minute)})
		y.Lanes[0] = wire.Lane{Name: "stat", Waiting: 2, Bytes: 260000, Oldest: before(4 * time.Minute), Delivered: 9}
		y.Lanes[1] = wire.Lane{Name: "routine", Waiting: 3, Bytes: 12400000, Oldest: before(2 * time.Minute), Delivered: 31}
	}
	if how == "offline" {
		ups[1].State, ups[1].Since, n.Active = wire.UplinkDown, before(28*time.Minute), ""
		n.Tunnels[0].State = wire.TunnelDown
		y.Cache.LastContact, y.Held = before(28*time.Minute), 1
		y.Destinations[0].State, y.Destinations[1].State = "unreachable", "unreachable"
		netFaults = append(netFaults, wire.Fault{ID: "uplink.down", Severity: wire.Alarm, Where: "uplink Radio", What: "3 of 3 probes of Radio unanswered; its gateway answers", Do: "call Radio", Since: before(28 * time.Minute)})
		syncFaults = append(syncFaults, wire.Fault{ID: "sync.ehr-unreachable", Severity: wire.Warning, Where: "10.98.1.10:8103", What: "dial: no route to host; also hospital, ehr", Do: "nothing is lost", Since: before(28 * time.Minute)})
	}
	s.says("init", &wire.Init{Board: "qemu-x86_64", Booted: before(292 * time.Hour)})
	s.says("netd", n, netFaults...)
	s.says("failoverd", &wire.Failover{Groups: []wire.Group{{Name: "lan", Role: wire.RoleMaster, Addresses: []string{"10.20.0.1/24"}}}})
	s.says("cardauth", &wire.Card{
		Readers: []wire.Reader{
			{Name: "Gemalto 0", Room: "Consulta 1", State: wire.ReaderSession, Since: before(4 * time.Minute)},
			{Name: "Gemalto 1", Room: "Consulta 2", State: wire.ReaderEmpty, Since: before(2 * time.Hour)},
		},
		Sessions: []wire.Session{{ID: "s", Role: wire.RoleDoctor, Subject: "Practitioner/4711", Room: "Consulta 1"}},
	})
	s.says("syncd", y, syncFaults...)
}

// launch starts the browser.
func (s *stage) launch() {
	s.Helper()
	chromium, err := exec.LookPath("chromium")
	s.try(err)
	settings, err := json.Marshal(map[string]any{"chromium": chromium, "driver": driver, "axe": axe, "trusted": []string{s.trusted}})
	s.try(err)
	s.browser = exec.Command("node", "testdata/browser/drive.cjs")
	s.browser.Env = append(os.Environ(), "BROWSER="+string(settings), "HOME="+s.dir)
	s.browser.Stderr = os.Stderr
	s.in, err = s.browser.StdinPipe()
	s.try(err)
	out, err := s.browser.StdoutPipe()
	s.try(err)
	s.out = bufio.NewScanner(out)
	s.out.Buffer(nil, 1<<20)
	s.try(proc.Bound(s.browser))
	s.Cleanup(func() {
		s.in.Close()
		done := make(chan struct{})
		go func() { _ = s.browser.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = s.browser.Process.Kill()
		}
	})
}

// do has the browser do one thing; key, value pairs say what.
func (s *stage) do(what string, args ...any) map[string]any {
	s.Helper()
	command := map[string]any{"do": what}
	for i := 0; i < len(args); i += 2 {
		command[args[i].(string)] = args[i+1]
	}
	line, err := json.Marshal(command)
	s.try(err)
	if _, err := s.in.Write(append(line, '\n')); err != nil {
		s.Fatal(err)
	}
	if !s.out.Scan() {
		s.Fatalf("the browser went away at %s: %v", line, s.out.Err())
	}
	var got struct {
		OK    bool           `json:"ok"`
		Value map[string]any `json:"value"`
		Error string         `json:"error"`
		Text  string         `json:"text"`
		Seen  []string       `json:"seen"`
	}
	s.try(json.Unmarshal(s.out.Bytes(), &got))
	if !got.OK {
		s.Fatalf("%s: %s\nthe page: %s\nconsole: %q", line, got.Error, got.Text, got.Seen)
	}
	return got.Value
}

func (s *stage) url() string { return "https://gateway.internal:" + s.port + "/" }
