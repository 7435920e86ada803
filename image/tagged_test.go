package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/lab/relay"
)

// siteTagged is the example with a provider in VLAN 100 that carries 20 Mbit/s, the
// devices in VLAN 30, IPv6, a service that anyone may ask for, and a time server. It
// has no second box.
func siteTagged(site string) string {
	from, to := strings.Index(site, "[[pair.group]]"), strings.Index(site, "# ---- cardauth")
	return strings.NewReplacer(
		"port   = \"wan1\"\n", "port   = \"wan1\"\nvlan = 100\nipv6 = \"auto\"\nup = \"20Mbit\"\n",
		"servers = []", `servers = ["192.0.2.1"]`,
		"wan = []", `wan = ["tcp/8443"]`,
		"\n[[net.tunnel]]", `
[net.ipv6]
local = "fd5a:1c3e:9b20::/48"

[[net.zone]]
name    = "devices"
kind    = "devices"
port    = "lan"
vlan    = 30
address = "10.20.30.2/24"
serves  = ["icmp", "tcp/8883"]

[[net.tunnel]]`,
	).Replace(site[:from] + site[to:])
}

// TestTagged boots the image where the provider and the devices have VLANs: the
// kernel that ships makes tagged devices, knows every rule of the firewall in both
// families, answers for its services by SYNPROXY, has IPv6 addresses of its own and
// queues for each class, and lets netd set the clock, which is an hour slow.
func TestTagged(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip", "dnsmasq", "ping", "nmap"))
	cfg := machine(t, requireBoot(t))
	cfg.Stick = siteStickOf(t, siteTagged)
	provider, cart := tagSpaces(t, &cfg)
	dns, err := proc.Start(proc.Spec{Name: "dnsmasq", Space: provider, Log: filepath.Join(cfg.Dir, "dnsmasq.log"), Args: []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--log-facility=-", "--log-dhcp", "--port=0",
		"--interface=box", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--dhcp-range=100.64.1.100,100.64.1.199,255.255.255.0,2m",
		"--dhcp-option=option:router,100.64.1.1", "--enable-ra", "--ra-param=box,10,600", "--dhcp-range=2001:db8:a::,ra-only",
		"--dhcp-leasefile=" + filepath.Join(cfg.Dir, "leases"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Stop(5 * time.Second) })
	wrongTime(t, provider)
	vm := start(t, cfg)
	expect(t, vm, `clinicgate: ready in [0-9.]+ s`)
	own := leased(t, filepath.Join(cfg.Dir, "leases"))
	for _, c := range []struct {
		from       *netns.Space
		what, want string
	}{
		{cart, "ping -c 1 -W 5 10.20.30.2", " 0% packet loss"},
		{cart, "nmap -n -Pn -sS -p 8883,8443 10.20.30.2", "8883/tcp open"},
		{cart, "nmap -n -Pn -sS -p 8883,8443 10.20.30.2", "8443/tcp filtered"},
		{cart, "ping -6 -c 1 -W 5 fd5a:1c3e:9b20:1::a14:1e02", " 0% packet loss"},
		{cart, "nmap -6 -n -Pn -sS -p 8883 fd5a:1c3e:9b20:1::a14:1e02", "8883/tcp open"},
		{provider, "nmap -n -Pn -sT -p 8443,8444 " + own, "8443/tcp open"}, // a whole connection
		{provider, "nmap -n -Pn -sT -p 8443,8444 " + own, "8444/tcp filtered"},
	} {
		var out []byte
		for try := 0; try < 5 && !strings.Contains(string(out), c.want); try++ {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			out, err = proc.Run(ctx, c.from, strings.Fields(c.what)...)
			cancel()
		}
		if !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, want %q:\n%s", c.what, err, c.want, out)
		}
	}
	says(t, vm, "status", `isp-a\s+\*?\s*up`)
	// Its log from the start, past the full screen's pages: what the kernel refuses is an
	// alarm there.
	if err := vm.Send("\x1b\x1b\x15plain\r"); err != nil {
		t.Fatal(err)
	}
	log := says(t, vm, "log netd", `(?s)log netd\r?\n.*?clock set by=(59m|1h0m)`)
	if refused := regexp.MustCompile(`id=(netd\.kernel|netd\.settings|firewall\.failed)`).FindString(log); refused != "" {
		t.Errorf("the kernel that ships refuses something: %s\n%s", refused, log)
	}
}

// says enters a word at the console until what it says is as wanted.
func says(t *testing.T, vm *qemu.VM, word, want string) string {
	t.Helper()
	var err error
	for range 6 {
		if err = vm.Send("\r" + word + "\r"); err != nil {
			t.Fatal(err)
		}
		var m []string
		if m, err = vm.Expect(want, 15*time.Second); err == nil {
			return m[0]
		}
	}
	t.Fatal(err)
	return ""
}

// wrongTime is a time server in the provider's space, whose clock is an hour fast.
func wrongTime(t *testing.T, provider *netns.Space) {
	t.Helper()
	var conn net.PacketConn
	err := provider.Do(func() (err error) {
		conn, err = net.ListenPacket("udp4", "192.0.2.1:123")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			at := time.Now().Add(time.Hour)
			stamp := uint64(at.Unix()+2208988800)<<32 | uint64(at.Nanosecond())<<32/1e9 // RFC 5905 §6
			answer := make([]byte, 48)
			answer[0], answer[1] = 4<<3|4, 1 // version 4, server, stratum 1
			copy(answer[24:], buf[40:48])
			for _, field := range []int{16, 32, 40} { // when set, received, sent
				binary.BigEndian.PutUint64(answer[field:], stamp)
			}
			_, _ = conn.WriteTo(answer, from) // it asks again
		}
	}()
}

// tagSpaces makes a provider in VLAN 100 of wan1 and a device in VLAN 30 of lan.
func tagSpaces(t *testing.T, cfg *qemu.Config) (provider, cart *netns.Space) {
	t.Helper()
	cfg.Cables = map[string]qemu.Cable{}
	plug := func(role string, id int, dev, addr string) *netns.Space {
		space, err := netns.New(fmt.Sprintf("tag-%d-%s", os.Getpid(), role))
		if err != nil {
			t.Fatal(err)
		}
		cable := qemu.Cable{Local: filepath.Join(cfg.Dir, role+".vm"), Remote: filepath.Join(cfg.Dir, role+".lab")}
		cfg.Cables[role] = cable
		port, err := relay.Dgram(cable.Remote, cable.Local)
		if err != nil {
			t.Fatal(err)
		}
		trunk := relay.NewTrunk(port)
		tap, err := relay.TAP(space, dev)
		if err != nil {
			t.Fatal(err)
		}
		link := relay.New(trunk.VLAN(id), tap, 1)
		t.Cleanup(func() { trunk.Close(); link.Close(); space.Close() })
		if err := space.Addr(dev, addr); err != nil {
			t.Fatal(err)
		}
		return space
	}
	provider, cart = plug("wan1", 100, "box", "100.64.1.1/24"), plug("lan", 30, "eth0", "10.20.30.60/24")
	for _, addr := range []string{"2001:db8:a::1/64", "192.0.2.1/32"} { // what the box asks for signs of life
		if err := provider.Addr("box", addr); err != nil {
			t.Fatal(err)
		}
	}
	return provider, cart
}

// leased waits until the box has an address of the provider's.
func leased(t *testing.T, path string) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		text, _ := os.ReadFile(path)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 2 && strings.HasPrefix(f[2], "100.64.1.") {
				return f[2]
			}
		}
	}
	t.Fatal("the box has asked for no address in VLAN 100")
	return ""
}
