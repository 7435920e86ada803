package stamp

import (
	"encoding/hex"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 22, 8, 0, 0, 500_000_000, time.UTC)

// TestPackets holds the layout of RFC 8762 figures 2 and 5 byte by byte.
func TestPackets(t *testing.T) {
	test := Test{Seq: 0x01020304, Sent: start, SSID: 0xabcd}.Marshal()
	const want = "01020304" + "eead1f8080000000" + "0001" + "abcd" + "00000000000000000000000000000000000000000000000000000000"
	if got := hex.EncodeToString(test); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	b, err := Reflect(test, 7, start.Add(time.Second), 61)
	if err != nil {
		t.Fatal(err)
	}
	Stamp(b, start.Add(2*time.Second))
	const reply = "00000007" + "eead1f8280000000" + "0001" + "abcd" + "eead1f8180000000" + "01020304" + "eead1f8080000000" + "0001" + "0000" + "3d" + "000000"
	if got := hex.EncodeToString(b); got != reply {
		t.Errorf("got  %s\nwant %s", got, reply)
	}
	r, err := ParseReply(b)
	if err != nil || r.Seq != 7 || r.Test != 0x01020304 || !r.Sent.Equal(start.Add(2*time.Second)) || !r.Received.Equal(start.Add(time.Second)) || r.SSID != 0xabcd {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := ParseReply(b[:43]); err == nil {
		t.Error("a short packet was taken")
	}
	if _, err := Reflect(test[:43], 1, start, 1); err == nil {
		t.Error("a short packet was reflected")
	}
}

func TestTimes(t *testing.T) {
	for _, at := range []time.Time{start, time.Unix(0, 1), time.Date(2036, 2, 7, 6, 28, 16, 999_999_999, time.UTC), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)} {
		if got := fromNTP(toNTP(at)); got.Sub(at).Abs() > time.Nanosecond {
			t.Errorf("got %v, want %v", got, at)
		}
	}
}

// A path loses what it is told to; its reflector's clock is an hour off.
type path struct {
	m     Meter
	count uint32
	now   time.Time
}

func (p *path) round(out, in time.Duration, lostOut, lostIn bool) {
	test := p.m.Send(p.now, 1, 0x1234)
	at := p.now
	p.now = p.now.Add(time.Second)
	if lostOut {
		return
	}
	there := at.Add(out).Add(time.Hour)
	b, _ := Reflect(test, p.count, there, 60)
	p.count++
	Stamp(b, there.Add(5*time.Millisecond))
	if !lostIn {
		p.m.Reply(b, at.Add(out+5*time.Millisecond+in))
	}
}

func TestMeter(t *testing.T) {
	p := &path{now: start, count: 100}
	for range 50 {
		p.round(10*time.Millisecond, 30*time.Millisecond, false, false)
	}
	if r := p.m.Result(); r.RTT.Round(time.Millisecond) != 40*time.Millisecond || r.JitterOut > time.Microsecond || r.LossOut != 0 || r.LossIn != 0 {
		t.Errorf("a perfect path: %+v", r)
	}
	for i := range 1000 {
		p.round(10*time.Millisecond+time.Duration(i%2)*8*time.Millisecond, 30*time.Millisecond, i%10 == 5, i%4 == 2)
	}
	r := p.m.Result()
	if r.LossOut < 8 || r.LossOut > 12 || r.LossIn < 22 || r.LossIn > 30 {
		t.Errorf("10 %% lost there, a quarter back: %+v", r)
	}
	if r.JitterOut < 4*time.Millisecond || r.JitterOut > 9*time.Millisecond || r.JitterIn > time.Microsecond {
		t.Errorf("jitter there only: %+v", r)
	}
	p.count = 0 // the reflector was restarted
	for range 2 * window {
		p.round(10*time.Millisecond, 30*time.Millisecond, false, false)
	}
	if r := p.m.Result(); r.LossOut != 0 || r.LossIn != 0 {
		t.Errorf("after a restart of the reflector: %+v", r)
	}
}

// TestStrangers: only the answer to what was asked counts, and once.
func TestStrangers(t *testing.T) {
	var m Meter
	test := m.Send(start, 1, 7)
	good, _ := Reflect(test, 0, start, 60)
	other := append([]byte(nil), good...)
	other[35] ^= 1 // the time stamp's last byte
	for name, b := range map[string][]byte{"another stamp": other, "empty": nil, "zeros": make([]byte, Size)} {
		if m.Reply(b, start) {
			t.Errorf("%s: taken", name)
		}
	}
	if !m.Reply(good, start.Add(time.Millisecond)) || m.Reply(good, start.Add(time.Millisecond)) {
		t.Error("the answer: want it taken once")
	}
}

func FuzzReply(f *testing.F) {
	var m Meter
	b, _ := Reflect(m.Send(start, 0, 0), 3, start, 64)
	f.Add(b)
	f.Add(make([]byte, Size))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Meter
		for i := range 5 {
			test := m.Send(start.Add(time.Duration(i)*time.Second), 0, 0)
			if len(b) >= Size && i < 4 {
				reply := append([]byte(nil), b...)
				copy(reply[24:38], test[:14]) // an answer to ours, whatever else it says
				m.Reply(reply, start.Add(time.Duration(i+1)*time.Second))
			}
		}
		m.Reply(b, start)
		if r := m.Result(); r.LossIn < 0 || r.LossIn > 100 || r.LossOut < 0 || r.LossOut > 100 || r.RTT < 0 || r.JitterIn < 0 {
			t.Fatalf("%+v", r)
		}
	})
}
