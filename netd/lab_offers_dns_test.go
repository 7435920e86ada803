package main

import (
	"crypto"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"

	"github.com/miekg/dns"
)

// zone is the internet: the top-level domain "example", signed with one key.
func (w *world) zone() (file string, key *dns.DNSKEY) {
	key = &dns.DNSKEY{Hdr: dns.RR_Header{Name: "example.", Rrtype: dns.TypeDNSKEY, Class: dns.ClassINET, Ttl: 60}, Flags: 257, Protocol: 3, Algorithm: dns.ECDSAP256SHA256}
	private, err := key.Generate(256)
	w.must(err)
	sets := [][]string{
		{"example. 60 IN SOA ns.example. root.example. 1 3600 600 86400 60"},
		{"example. 60 IN NS ns.example."},
		{"ns.example. 60 IN A 192.0.2.1"},
		{"www.example. 60 IN A 192.0.2.9"},
		{"short.example. 1 IN A 192.0.2.10"},
		{"evil.example. 60 IN A 10.20.0.2"},
		nil,
	}
	for i := range 40 {
		sets[6] = append(sets[6], fmt.Sprintf("big.example. 60 IN TXT \"%02d%s\"", i, strings.Repeat("x", 60)))
	}
	var text strings.Builder
	sign := func(set []dns.RR) {
		sig := &dns.RRSIG{Algorithm: key.Algorithm, KeyTag: key.KeyTag(), SignerName: "example.",
			Inception: uint32(time.Now().Add(-time.Hour).Unix()), Expiration: uint32(time.Now().Add(24 * time.Hour).Unix())}
		w.must(sig.Sign(private.(crypto.Signer), set))
		for _, rr := range append(set, sig) {
			fmt.Fprintln(&text, rr)
		}
	}
	for _, lines := range sets {
		var set []dns.RR
		for _, l := range lines {
			rr, err := dns.NewRR(l)
			w.must(err)
			set = append(set, rr)
		}
		sign(set)
	}
	sign([]dns.RR{key})
	file = filepath.Join(w.dir, "example.zone")
	w.must(os.WriteFile(file, []byte(text.String()), 0o644))
	return file, key
}

// startDNS starts a name server of another house for "example" at 192.0.2.1.
func (w *world) startDNS(file string) *proc.Proc {
	conf := filepath.Join(w.dir, "unbound.conf")
	w.must(os.WriteFile(conf, fmt.Appendf(nil, `
server:
  interface: 192.0.2.1
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  module-config: "iterator"
  do-ip6: no
remote-control:
  control-enable: no
auth-zone:
  name: "example."
  zonefile: "%s"
  for-downstream: yes
  for-upstream: yes
  fallback-enabled: no
`, file), 0o644))
	p := w.start(proc.Spec{Name: "unbound", Space: w.hub, Args: []string{"unbound", "-d", "-c", conf}})
	w.must(p.WaitLine(w.t.Context(), "start of service"))
	return p
}

// dig asks the box from the workstation; short is the answer alone.
func (w *world) dig(args ...string) string {
	w.t.Helper()
	return w.run(w.pc, append([]string{"dig", "@10.20.0.2", "+tries=1", "+timeout=5"}, args...)...)
}

// TestOffersDNS: a stock resolver client, a validating one, and a stock name server
// around the box's resolver, with providers that die.
func TestOffersDNS(t *testing.T) {
	needs(t)
	lab.Require(t, lab.Program("udhcpc", "dig", "delv", "unbound", "chronyd", "ntpdig"))
	bin := programs(t)
	w := newWorld(t)
	w.startISPA()
	w.startHub(bin)
	file, key := w.zone()
	w.startDNS(file)
	site := func(s string) string {
		s = strings.Replace(alone(s), `upstream  = []`, `upstream = ["192.0.2.1"]`, 1)
		return strings.Replace(s, `servers = []`, `servers = ["ns.example"]`, 1)
	}
	w.startTime()
	w.startNetd(bin, site)
	w.await("all up", func(n *wire.Net) bool { return w.states(n) == allUp && n.DNS != nil && n.DNS.Answers })
	w.workstation()
	for _, c := range []struct{ name, kind, want string }{
		{"www.example", "A", "192.0.2.9"}, {"gateway.internal", "A", "10.20.0.2"}, {"ecg-cart.clinic.internal", "A", "10.20.0.60"},
		{"short.example", "A", "192.0.2.10"}, {"60.0.20.10.in-addr.arpa", "PTR", "ecg-cart.clinic.internal."},
	} {
		if got := strings.TrimSpace(w.dig("+short", c.name, c.kind)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := w.dig("+dnssec", "www.example"); !strings.Contains(got, "RRSIG") || !strings.Contains(got, "flags: qr rd ra;") {
		t.Errorf("DNSSEC is not passed on, or more is said than is known:\n%s", got)
	}
	anchor := filepath.Join(w.dir, "anchor")
	w.must(os.WriteFile(anchor, fmt.Appendf(nil, "trust-anchors { example. static-key 257 3 13 \"%s\"; };\n", key.PublicKey), 0o644))
	if got := w.run(w.pc, "delv", "@10.20.0.2", "-a", anchor, "+root=example", "www.example"); !strings.Contains(got, "; fully validated") {
		t.Errorf("a validating client:\n%s", got)
	}
	if got := w.dig("big.example", "TXT"); strings.Count(got, "\tTXT\t\"") != 40 || !strings.Contains(got, "(TCP)") {
		t.Errorf("a long answer:\n%s", got)
	}
	if got := w.dig("evil.example"); !strings.Contains(got, "REFUSED") || !strings.Contains(got, "EDE: 15 (Blocked)") {
		t.Errorf("a name that leads inside:\n%s", got)
	}
	a := w.await("lease", func(n *wire.Net) bool { return n.Uplinks[0].Address != "" }).Uplinks[0].Address
	own, _, _ := strings.Cut(a, "/")
	if out, err := proc.Run(t.Context(), w.ispA, "dig", "@"+own, "+tries=1", "+timeout=1", "www.example"); err == nil {
		t.Errorf("the provider is answered:\n%s", out)
	}
	w.tellsTime()
	w.withoutProviders(bin, site)
}

// startTime starts a time server of another house at 192.0.2.1. It does not touch
// the machine's clock.
func (w *world) startTime() {
	conf := filepath.Join(w.dir, "chrony.conf")
	w.must(os.WriteFile(conf, []byte("local stratum 1\nallow\nbindaddress 192.0.2.1\ncmdport 0\npidfile "+filepath.Join(w.dir, "chrony.pid")+"\n"), 0o644))
	p := w.start(proc.Spec{Name: "chronyd", Space: w.hub, Args: []string{"chronyd", "-x", "-d", "-U", "-u", "root", "-f", conf}})
	w.must(p.WaitLine(w.t.Context(), "Disabled control of system clock"))
}

// tellsTime: netd may not set the clock here, and finds that it is right; two
// clients of other houses believe it. Nobody gets an answer to a control question.
func (w *world) tellsTime() {
	w.t.Helper()
	n := w.await("time", func(n *wire.Net) bool { return n.Time != nil && n.Time.Known })
	if n.Time.Stratum != 2 || n.Time.Sources[0].Name != "ns.example" || n.Time.ErrorMS <= 0 {
		w.t.Errorf("time: %+v", n.Time)
	}
	if got := w.run(w.pc, "chronyd", "-x", "-Q", "-U", "-u", "root", "-t", "10", "pidfile "+filepath.Join(w.dir, "q.pid"), "server 10.20.0.2 iburst maxsamples 1"); !strings.Contains(got, "System clock wrong by") {
		w.t.Errorf("chronyd:\n%s", got)
	}
	if got := w.run(w.pc, "ntpdig", "10.20.0.2"); !strings.Contains(got, "10.20.0.2 s2 no-leap") {
		w.t.Errorf("ntpdig:\n%s", got)
	}
}

// withoutProviders: both die. What is known is answered, also by a netd that has
// just started; what is not, at once.
func (w *world) withoutProviders(bin string, site func(string) string) {
	w.t.Helper()
	w.silence()
	w.run(w.ispB, "nft", "add table ip dead; add chain ip dead in { type filter hook prerouting priority -400; policy drop; }")
	dead := func(n *wire.Net) bool { return strings.HasPrefix(w.states(n), "isp-a=down isp-b=down") }
	w.await("both dead", dead)
	known := func(when string) {
		w.t.Helper()
		if got := w.dig("short.example"); !strings.Contains(got, "short.example.\t\t30\tIN\tA\t192.0.2.10") || !strings.Contains(got, "EDE: 3 (Stale Answer)") {
			w.t.Errorf("%s, a known name:\n%s", when, got)
		}
		begin := time.Now()
		got := w.dig("cold.example")
		if !strings.Contains(got, "SERVFAIL") || !strings.Contains(got, "EDE: 23 (Network Error)") {
			w.t.Errorf("%s, an unknown name:\n%s", when, got)
		}
		w.t.Logf("%s: an unknown name was refused after %v", when, time.Since(begin).Round(time.Millisecond))
	}
	known("both dead")
	if n := w.await("old answers counted", func(n *wire.Net) bool { return n.DNS.Stale > 0 }); fault(n, "dns.stale") == nil {
		w.t.Errorf("faults %+v", n.Faults)
	}
	w.must(w.netd.Signal(syscall.SIGTERM))
	<-w.netd.Done()
	w.startNetd(bin, site)
	w.await("still dead", func(n *wire.Net) bool { return dead(n) && n.DNS.Answers })
	known("after a restart")
}
