package resolver

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/netd/resolver/upstream"

	"github.com/miekg/dns"
)

// server listens for questions at port 53 of an address of the loopback device, by
// UDP and TCP, and answers with what answer gives.
func server(t *testing.T, address string, answer func(w dns.ResponseWriter, q *dns.Msg, tcp bool)) upstream.Server {
	t.Helper()
	lab.Require(t, lab.Root)
	for _, network := range []string{"udp", "tcp"} {
		up := make(chan struct{})
		srv := &dns.Server{Addr: address + ":53", Net: network, NotifyStartedFunc: func() { close(up) }}
		srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { answer(w, q, network == "tcp") })
		failed := make(chan error, 1)
		go func() { failed <- srv.ListenAndServe() }()
		select {
		case <-up:
		case err := <-failed:
			t.Fatal(err)
		}
		t.Cleanup(func() { srv.Shutdown() })
	}
	return upstream.Server{Addr: netip.MustParseAddr(address), Way: upstream.Routed}
}

func good(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Answer = records(question{}, q.Question[0].Name+" 60 IN A 192.0.2.9").Answer
	return m
}

func TestExchange(t *testing.T) {
	asker := New(site(), "", func(int) uint32 { return 0 }, slog.New(slog.DiscardHandler))
	for name, c := range map[string]struct {
		answer func(w dns.ResponseWriter, q *dns.Msg, tcp bool)
		want   string // who answered; empty: nobody
	}{
		"plain": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) { w.WriteMsg(good(q)) }, "192.0.2.9"},
		"too long for a datagram": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) {
			m := good(q)
			if !tcp {
				m.Truncated, m.Answer = true, nil
			}
			w.WriteMsg(m)
		}, "192.0.2.9"},
		"small letters only": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) {
			q.Question[0].Name = strings.ToLower(q.Question[0].Name)
			w.WriteMsg(good(q))
		}, "192.0.2.9"},
		"guesses come first": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) {
			for i := range 5 {
				lie := good(q)
				lie.Id += uint16(i) + 1
				lie.Answer[0].(*dns.A).A = net.IPv4(203, 0, 113, 66)
				w.WriteMsg(lie)
			}
			w.WriteMsg(good(q))
		}, "192.0.2.9"},
		"a number guessed, not the letters": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) {
			if !tcp {
				lie := new(dns.Msg).SetReply(q)
				lie.Question = []dns.Question{{Name: strings.ToLower(q.Question[0].Name), Qtype: dns.TypeA, Qclass: 1}}
				lie.Answer = records(question{}, "a.example. 60 IN A 203.0.113.66").Answer
				w.WriteMsg(lie)
			}
			w.WriteMsg(good(q))
		}, "192.0.2.9"},
		"nonsense":      {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) { w.Write([]byte{byte(q.Id >> 8), byte(q.Id), 0x81}) }, ""},
		"another name":  {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) { q.Question[0].Name = "b."; w.WriteMsg(good(q)) }, ""},
		"never by TCP":  {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) { m := good(q); m.Truncated = true; w.WriteMsg(m) }, "192.0.2.9"},
		"not an answer": {func(w dns.ResponseWriter, q *dns.Msg, tcp bool) { w.WriteMsg(q) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			to := server(t, "127.53.7.1", c.answer)
			m, err := asker.exchange(t.Context(), to, question{name: "long-enough-a-name.of-letters.example.", kind: dns.TypeA})
			got := ""
			if err == nil {
				got = m.Answer[0].(*dns.A).A.String()
			}
			if got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	begin := time.Now()
	if _, err := asker.exchange(t.Context(), upstream.Server{Addr: netip.MustParseAddr("127.53.7.2"), Way: upstream.Routed}, question{name: "a.", kind: dns.TypeA}); err == nil || time.Since(begin) > time.Second {
		t.Errorf("nobody listens: %v after %v", err, time.Since(begin))
	}
}

func TestScramble(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s := scramble("www.example-1.com.")
		if strings.ToLower(s) != "www.example-1.com." {
			t.Fatal(s)
		}
		seen[s] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d forms of 100", len(seen))
	}
}

func FuzzMatch(f *testing.F) {
	q := question{name: "a.example.", kind: dns.TypeA, do: true}.message()
	b, _ := good(q).Pack()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := match(b, q)
		if err != nil {
			return
		}
		if out := clean(m, "a.example."); len(out.Extra) != 0 || out.Question[0].Name != "a.example." {
			t.Fatalf("%v", out)
		}
	})
}
