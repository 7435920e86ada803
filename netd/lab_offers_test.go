package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
)

// alone is a box without another: what devices ask is asked of its own address.
func alone(site string) string {
	from, to := strings.Index(site, "[[pair.group]]"), strings.Index(site, "# ---- cardauth")
	return site[:from] + site[to:]
}

// workstation has the computer in the LAN take its address from the box, with a
// client of another house, as the device that the site file knows.
func (w *world) workstation() map[string]string {
	w.t.Helper()
	script, out := filepath.Join(w.dir, "dhcp.sh"), filepath.Join(w.dir, "told")
	w.must(os.WriteFile(script, []byte("#!/bin/sh\nenv >"+out+"\n[ $1 != bound ] || { ip addr add $ip/24 dev $interface; ip route replace default via $router; }\n"), 0o755))
	w.run(w.pc, "ip", "addr", "flush", "dev", "eth0", "scope", "global")
	w.run(w.pc, "ip", "link", "set", "eth0", "address", "52:54:00:20:00:60")
	w.run(w.pc, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "15", "-T", "1", "-s", script)
	data, err := os.ReadFile(out)
	w.must(err)
	told := map[string]string{}
	for line := range strings.Lines(string(data)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		told[k] = v
	}
	return told
}

// TestOffers: a computer that knows nothing gets what it needs to work from the
// box alone, with the firewall of a clinic in force.
func TestOffers(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("udhcpc", "dig"))
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	w.startNetd(bin, alone)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && len(n.DHCP) == 1 && n.DHCP[0].Answers })
	told := w.workstation()
	for k, want := range map[string]string{"ip": "10.20.0.60", "router": "10.20.0.2", "dns": "10.20.0.2", "ntpsrv": "10.20.0.2", "hostname": "ecg-cart", "domain": "clinic.internal"} {
		if told[k] != want {
			t.Errorf("DHCP: %s is %q, want %q", k, told[k], want)
		}
	}
	w.wait(w.pc, "ping", "-c", "1", "-W", "2", "192.0.2.1")
	var leases []wire.Lease
	w.must(json.Unmarshal([]byte(w.run(w.pc, "curl", "-s", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd/leases")), &leases))
	if len(leases) != 1 || leases[0].Name != "ecg-cart" || !leases[0].Live {
		t.Errorf("leases: %+v", leases)
	}
}
