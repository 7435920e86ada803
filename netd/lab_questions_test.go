package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/wire"
)

// ask puts a question to netd's control socket and returns the answer's lines.
func (w *world) ask(query string) (all []wire.Echo) {
	w.t.Helper()
	out := w.run(w.pc, "curl", "-s", "-X", "POST", "--unix-socket", filepath.Join(w.dir, "run/netd.sock"), "http://netd"+query)
	for line := range strings.Lines(out) {
		var e wire.Echo
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("%s: %s", query, out)
		}
		all = append(all, e)
	}
	return all
}

// questions: with everything netd does in force, a technician's pings go by the line
// he names, a trace names the provider's routers, and a capture has the pings.
func questions(t *testing.T, bin string) {
	w := up(t, bin, func(site string) string {
		return strings.Replace(site, "\nwan = []", "\nwan = []\ntunnel = [\"tcp/9100\"]", 1)
	})
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a metric") })
	w.serve(w.box, "10.99.0.2:9100", metrics)
	w.serve(w.box, "10.99.0.2:9101", metrics)
	if got := w.run(w.hub, "curl", "-s", "http://10.99.0.2:9100/"); got != "a metric" {
		t.Errorf("from behind the hub: %s", got)
	}
	for _, c := range []struct {
		from *netns.Space
		port string
	}{{w.hub, "9101"}, {w.pc, "9100"}} {
		if got := w.run(c.from, "sh", "-c", "curl -s -m 2 http://10.99.0.2:"+c.port+"/ || echo nothing"); got != "nothing\n" {
			t.Errorf("port %s answers who may not: %s", c.port, got)
		}
	}
	for by, first := range map[string]string{"isp-a": "100.64.1.1", "isp-b": "198.51.100.1"} {
		if got := w.ask("/echo?to=192.0.2.1&count=1&by=" + by); len(got) != 1 || got[0].Kind != wire.EchoReply || got[0].From != "192.0.2.1" {
			t.Errorf("ping by %s: %+v", by, got)
		}
		got := w.ask("/echo?to=192.0.2.1&trace=1&by=" + by)
		if len(got) != 3 || got[0].From != first || got[0].Kind != wire.EchoExceeded || got[2].Kind != wire.EchoReply {
			t.Errorf("trace by %s: %+v", by, got)
		}
	}
	if got := w.ask("/echo?to=10.99.0.1&count=1&by=hub"); len(got) != 1 || got[0].Kind != wire.EchoReply {
		t.Errorf("ping in the tunnel: %+v", got)
	}
	if got := w.ask("/echo?to=10.20.0.50&count=1&by=lan"); len(got) != 1 || got[0].Kind != wire.EchoReply {
		t.Errorf("ping in the clinic: %+v", got)
	}
	sock := filepath.Join(w.dir, "run/netd.sock")
	for query, want := range map[string]string{
		"/echo?to=example.org":               "to: got",
		"/echo?to=192.0.2.1&by=isp-c":        `by: got "isp-c"`,
		"/echo?to=192.0.2.1&count=100000":    "count: got",
		"/capture":                           "on: want the name",
		"/capture?on=lan&seconds=86400":      "seconds: got",
		"/capture?on=lan&packets=1000000000": "packets: got",
	} {
		if said := w.run(w.pc, "curl", "-s", "-X", "POST", "--unix-socket", sock, "http://netd"+query); !strings.HasPrefix(said, want) {
			t.Errorf("%s: %s, want %s", query, said, want)
		}
	}
	tables := w.run(w.pc, "curl", "-s", "--unix-socket", sock, "http://netd/tables")
	for _, want := range []string{"# routes", "wan1", "# rules", "# connections: count", "*nat", "MASQUERADE"} {
		if !strings.Contains(tables, want) {
			t.Errorf("tables without %q:\n%s", want, tables)
		}
	}
	file := filepath.Join(w.dir, "wan1.pcap")
	w.run(w.pc, "curl", "-s", "-X", "POST", "-o", file, "--unix-socket", sock, "http://netd/capture?on=isp-a&packets=8&seconds=60")
	if text := w.run(w.pc, "tcpdump", "-nr", file); !strings.Contains(text, "192.0.2.1: ICMP echo request") {
		t.Errorf("a capture without netd's own probes:\n%s", text)
	}
	if fi, err := os.Stat(file); err != nil || fi.Size() > 8*200 {
		t.Errorf("8 packets' headers: %v, %v", fi.Size(), err)
	}
}
