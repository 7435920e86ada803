package main

import (
	"cmp"
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"

	"golang.org/x/sys/unix"
)

// A world is what surrounds one box: two providers, the internet between them, a
// hub with stock WireGuard, and a computer in the LAN.
//
//	            100.64.1.0/24          10.0.1.0/30
//	     +-- wan1 -- ispA (dnsmasq) ----------------+
//	pc -- box                                       inet -- 192.0.2.0/24 -- hub
//	10.20.0.0/24 -- wan2 -- ispB -------------------+
//	            198.51.100.0/24        10.0.2.0/30
type world struct {
	t                              testing.TB
	dir                            string
	box, ispA, ispB, inet, hub, pc *netns.Space
	netd                           *proc.Proc
}

func needs(t testing.TB) {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("ip", "iptables", "ip6tables", "nft", "dnsmasq", "ping", "wg", "tc", "setpriv", "conntrack", "curl"))
}

// newWorld builds everything but netd.
func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	for name, s := range map[string]**netns.Space{"box": &w.box, "ispa": &w.ispA, "ispb": &w.ispB, "inet": &w.inet, "hub": &w.hub, "pc": &w.pc} {
		space, err := netns.New(fmt.Sprintf("netd-%d-%s", os.Getpid(), name))
		w.must(err)
		t.Cleanup(func() { space.Close() })
		*s = space
	}
	w.must(netns.Veth(w.box, "wan1", w.ispA, "box"), netns.Veth(w.box, "wan2", w.ispB, "box"), netns.Veth(w.box, "lan", w.pc, "eth0"),
		netns.Veth(w.ispA, "up", w.inet, "a"), netns.Veth(w.ispB, "up", w.inet, "b"), netns.Veth(w.inet, "hub", w.hub, "eth0"))
	w.must(w.ispA.Addr("box", "100.64.1.1/24"), w.ispA.Addr("up", "10.0.1.1/30"), w.inet.Addr("a", "10.0.1.2/30"),
		w.ispB.Addr("box", "198.51.100.1/24"), w.ispB.Addr("up", "10.0.2.1/30"), w.inet.Addr("b", "10.0.2.2/30"),
		w.inet.Addr("hub", "192.0.2.254/24"), w.hub.Addr("eth0", "192.0.2.1/24"), w.pc.Addr("eth0", "10.20.0.50/24"))
	w.must(w.ispA.Forward(), w.ispB.Forward(), w.inet.Forward())
	w.must(w.ispA.Route("default", "10.0.1.2"), w.ispB.Route("default", "10.0.2.2"), w.hub.Route("default", "192.0.2.254"),
		w.inet.Route("100.64.1.0/24", "10.0.1.1"), w.inet.Route("198.51.100.0/24", "10.0.2.1"), w.pc.Route("default", "10.20.0.2"))
	// What init does at boot; netd's user may not.
	w.run(w.box, "sh", "-ec", "cd /proc/sys/net/ipv4; echo 1 >ip_forward; echo 1 >conf/all/promote_secondaries; echo 1 >fib_multipath_hash_policy; echo 2 >conf/all/rp_filter")
	for _, sub := range []string{"site", "secrets", "state", "run"} {
		dir := filepath.Join(w.dir, sub)
		w.must(os.Mkdir(dir, 0o700), os.Chown(dir, 201, 200))
	}
	// A node of its own with the rights that init gives the box's.
	tun := filepath.Join(w.dir, "dev-net/tun")
	w.must(os.Mkdir(filepath.Dir(tun), 0o755), unix.Mknod(tun, unix.S_IFCHR, int(unix.Mkdev(10, 200))),
		os.Chown(tun, 0, 200), os.Chmod(tun, 0o660))
	w.must(os.Chmod(w.dir, 0o755), os.Chmod(filepath.Dir(w.dir), 0o755))
	return w
}

func (w *world) must(errs ...error) {
	w.t.Helper()
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) run(s *netns.Space, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), ample)
	defer cancel()
	out, err := proc.Run(ctx, s, args...)
	w.must(err)
	return string(out)
}

func (w *world) start(spec proc.Spec) *proc.Proc {
	w.t.Helper()
	spec.Log = filepath.Join(w.dir, spec.Name+".log")
	p, err := proc.Start(spec)
	w.must(err)
	w.t.Cleanup(func() { p.Stop(5 * time.Second) })
	return p
}

// startISPA starts provider A's DHCP server.
func (w *world) startISPA(instead ...string) *proc.Proc {
	if instead == nil {
		instead = []string{"--dhcp-range=100.64.1.100,100.64.1.199,255.255.255.0,2m", "--dhcp-option=option:router,100.64.1.1"}
	}
	p := w.start(proc.Spec{Name: "dnsmasq", Space: w.ispA, Args: append([]string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--log-facility=-", "--log-dhcp",
		"--port=0", "--interface=box", "--bind-interfaces", "--dhcp-authoritative", "--no-ping",
		"--dhcp-leasefile=" + filepath.Join(w.dir, "leases"),
	}, instead...)})
	w.must(p.WaitLine(w.t.Context(), "DHCP, IP range"))
	return p
}

// programs builds netd and stock wireguard-go.
func programs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{{"netd", "."}, {"fan", "./fan"}, {"wireguard-go", "golang.zx2c4.com/wireguard"}} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, args[0]), args[1])
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", args[1], err, out)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wgKey makes a key pair as wg genkey and wg pubkey would.
func wgKey(t testing.TB, seed byte) (private, public string) {
	t.Helper()
	var k [32]byte
	for i := range k {
		k[i] = seed
	}
	key, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(k[:]), base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

// startHub starts the far end of the tunnel, and a host behind it at 10.98.1.10.
func (w *world) startHub(bin string) *proc.Proc {
	p := w.startPeer(bin, farEnd{space: w.hub, name: "hub", seed: 0x43, port: "51820"})
	w.must(w.hub.Addr(p.dev, "10.99.0.1/24"), w.hub.Up(p.dev))
	w.run(w.hub, "ip", "addr", "replace", "10.98.1.10/32", "dev", "lo")
	return p.Proc
}

// startFan starts the far end with a fan before it.
func (w *world) startFan(bin string) {
	w.t.Helper()
	p := w.startPeer(bin, farEnd{space: w.hub, name: "hub", seed: 0x43, port: "51821"})
	w.must(w.hub.Addr(p.dev, "10.99.0.1/24"), w.hub.Up(p.dev), w.hub.Up("lo"))
	w.run(w.hub, "ip", "addr", "replace", "10.98.1.10/32", "dev", "lo")
	_, boxPub := wgKey(w.t, 0x42)
	peers := filepath.Join(w.dir, "peers")
	w.must(os.WriteFile(peers, []byte("[Peer]\nPublicKey = "+boxPub+"\n"), 0o600))
	fan := w.start(proc.Spec{Name: "fan", Space: w.hub, Args: []string{filepath.Join(bin, "fan"), "-listen", "192.0.2.1:51820",
		"-key", filepath.Join(w.dir, "hub.key"), "-peers", peers}})
	w.must(fan.WaitLine(w.t.Context(), "ready"))
}

// withFan is the example with a hub that has a fan.
func withFan(site string) string {
	return strings.Replace(site, "\nprobe     = \"10.99.0.1\"", "\nfan = true\nprobe     = \"10.99.0.1\"", 1)
}

// A farEnd is a stock wireguard-go that knows the box.
type farEnd struct {
	space *netns.Space
	name  string
	seed  byte // of its key
	port  string
	psk   string // base64; empty: none
	inner string // the box's address inside; empty: 10.99.0.2
}

// A peer is one that runs.
type peer struct {
	*proc.Proc
	dev string
}

// startPeer starts a far end and gives netd its own key. Address and link are the
// caller's.
func (w *world) startPeer(bin string, e farEnd) peer {
	w.t.Helper()
	boxKey, boxPub := wgKey(w.t, 0x42)
	key, _ := wgKey(w.t, e.seed)
	dev := fmt.Sprintf("%s%d", e.name, os.Getpid())
	p := w.start(proc.Spec{Name: e.name, Space: e.space, Args: []string{filepath.Join(bin, "wireguard-go"), "-f", dev}, Env: []string{"LOG_LEVEL=verbose"}})
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("%s:\n%s", e.name, p.Tail(20))
		}
	})
	// Asked before it listens, wg takes its socket for a dead program's and removes it.
	w.must(p.WaitLine(w.t.Context(), "UAPI listener started"))
	file := filepath.Join(w.dir, e.name+".key")
	w.must(os.WriteFile(file, []byte(key), 0o600))
	args := []string{"wg", "set", dev, "private-key", file, "listen-port", e.port, "peer", boxPub, "allowed-ips", cmp.Or(e.inner, "10.99.0.2") + "/32"}
	if e.psk != "" {
		psk := filepath.Join(w.dir, e.name+".psk")
		w.must(os.WriteFile(psk, []byte(e.psk), 0o600))
		args = append(args, "preshared-key", psk)
	}
	w.wait(e.space, args...)
	w.secret("hub.key", boxKey)
	return peer{p, dev}
}

// ample is how long anything that must come may take to: far longer than on an
// idle machine, where netd's own speed is measured (make bench-wan). Only a failure
// takes it whole.
const ample = 90 * time.Second

// wait runs a command until it succeeds.
func (w *world) wait(space *netns.Space, args ...string) {
	w.t.Helper()
	for deadline := time.Now().Add(ample); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(w.t.Context(), answer)
		_, err := proc.Run(ctx, space, args...)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatal(err)
		}
	}
}

// secret lays a file into netd's secrets.
func (w *world) secret(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "secrets", name)
	w.must(os.WriteFile(path, []byte(text+"\n"), 0o600), os.Chown(path, 201, 200))
}

// startNetd writes the site file, the example with this world's hub and what edit
// changes, and starts netd as the box does: its own user, three capabilities.
func (w *world) startNetd(bin string, edit func(site string) string) {
	w.t.Helper()
	site, err := os.ReadFile("../docs/site.example.toml")
	w.must(err)
	_, hubPub := wgKey(w.t, 0x43)
	text := strings.Replace(string(site), "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", hubPub, 1)
	if edit != nil {
		text = edit(text)
	}
	w.must(os.WriteFile(filepath.Join(w.dir, "site/site.toml"), []byte(text), 0o644))
	_ = os.Remove(filepath.Join(w.dir, "run", wire.NetFile)) // what one before said is not this one's word
	const caps = "+net_admin,+net_raw,+net_bind_service"
	w.netd = w.start(proc.Spec{Name: "netd", Space: w.box, Binds: map[string]string{"/dev/net": filepath.Join(w.dir, "dev-net")}, Args: []string{
		"setpriv", "--reuid=201", "--regid=200", "--clear-groups", "--no-new-privs", "--inh-caps=" + caps, "--ambient-caps=" + caps,
		filepath.Join(bin, "netd"), "-debug", "-site", filepath.Join(w.dir, "site/site.toml"),
		"-secrets", filepath.Join(w.dir, "secrets"), "-state", filepath.Join(w.dir, "state"), "-run", filepath.Join(w.dir, "run"),
	}})
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("netd's log:\n%s", w.netd.Tail(60))
		}
	})
}

// await waits until the published state is as wanted and returns it.
func (w *world) await(what string, ok func(*wire.Net) bool) *wire.Net {
	w.t.Helper()
	var last *wire.Net
	for deadline := time.Now().Add(ample); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		n, err := wirefile.Read[wire.Net](filepath.Join(w.dir, "run"), wire.NetFile)
		if err != nil {
			continue
		}
		if last = n; ok(n) {
			return n
		}
	}
	w.t.Fatalf("%s: not within %v; netd.json: %+v", what, ample, last)
	return nil
}

func (w *world) states(n *wire.Net) string {
	var s []string
	for _, u := range n.Uplinks {
		s = append(s, u.Name+"="+u.State)
	}
	for _, t := range n.Tunnels {
		s = append(s, t.Name+"="+t.State)
	}
	return strings.Join(s, " ")
}

func fault(n *wire.Net, id string) *wire.Fault {
	for i := range n.Faults {
		if n.Faults[i].ID == id {
			return &n.Faults[i]
		}
	}
	return nil
}
