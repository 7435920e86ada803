package stamp

import "time"

// Result is what a session says about its path.
type Result struct {
	RTT                 time.Duration // smoothed, without the reflector's own time; 0 while unknown
	JitterOut, JitterIn time.Duration // of the way there and back, each smoothed (RFC 3550 §6.4.1)
	LossOut, LossIn     float64       // percent of what was sent, and of what was sent back
	Heard               time.Time     // when the last reply came; zero: never
}

// window is how many packets are remembered: so many at one a second is two minutes.
const window = 128

// Meter follows one session. Loss is counted between the first and the last reply
// in its window, from the numbers alone: what the reflector did not count was lost
// on the way there, what it counted and did not come was lost on the way back. Times
// of the two clocks are only ever compared with themselves.
type Meter struct {
	sent    [window]sent
	next    uint32
	last    Reply
	lastOut time.Duration // the way there, off by the clocks' difference
	lastIn  time.Duration
	res     Result
}

type sent struct {
	seq   uint32
	stamp uint64 // what the packet said; zero: nothing sent
	at    time.Time
	reply uint32 // the reflector's number
	back  bool
}

// Send makes the next packet. noise is drawn at random: its lowest bits become those
// of the time stamp, far below a microsecond, so that nobody off the path can answer.
func (m *Meter) Send(now time.Time, ssid uint16, noise uint16) []byte {
	b := Test{Seq: m.next, Sent: now, SSID: ssid}.Marshal()
	b[10], b[11] = b[10]&0xf0|byte(noise>>8)&0x0f, byte(noise)
	m.sent[m.next%window] = sent{seq: m.next, stamp: stampOf(b), at: now}
	m.next++
	return b
}

func stampOf(b []byte) uint64 {
	var n uint64
	for _, c := range b[4:12] {
		n = n<<8 | uint64(c)
	}
	return n
}

// Reply takes in a packet that came back. It reports whether it is an answer to one
// of ours, for the first time.
func (m *Meter) Reply(b []byte, now time.Time) bool {
	r, err := ParseReply(b)
	if err != nil {
		return false
	}
	s := &m.sent[r.Test%window]
	if s.stamp == 0 || s.seq != r.Test || s.stamp != r.TestSent || s.back {
		return false
	}
	if !m.res.Heard.IsZero() && int32(r.Seq-m.last.Seq) > int32(r.Test-m.last.Test) || int32(r.Seq-m.last.Seq) < -window {
		m.forget() // a reflector that was restarted counts anew
		s = &m.sent[r.Test%window]
	}
	s.back, s.reply = true, r.Seq
	m.times(r, now.Sub(s.at), s.at, now)
	m.last, m.res.Heard = r, now
	return true
}

// forget lets no reply of before count.
func (m *Meter) forget() {
	for i := range m.sent {
		m.sent[i].back = false
	}
}

// times takes in how long one packet took.
func (m *Meter) times(r Reply, whole time.Duration, sent, now time.Time) {
	rtt := max(whole-max(r.Sent.Sub(r.Received), 0), 0)
	out, in := r.Received.Sub(sent), now.Sub(r.Sent)
	if m.res.Heard.IsZero() {
		m.res.RTT = rtt
	} else {
		m.res.RTT += (rtt - m.res.RTT) / 8
		m.res.JitterOut += ((out - m.lastOut).Abs() - m.res.JitterOut) / 16
		m.res.JitterIn += ((in - m.lastIn).Abs() - m.res.JitterIn) / 16
	}
	m.lastOut, m.lastIn = out, in
}

// Result is what is known now.
func (m *Meter) Result() Result {
	res := m.res
	var first, last *sent
	came := 0
	for i := range window {
		s := &m.sent[(m.next+uint32(i))%window] // oldest first
		if s.stamp == 0 || !s.back {
			continue
		}
		if first == nil {
			first = s
		}
		last = s
		came++
	}
	if first == nil || last.seq == first.seq {
		return res
	}
	gone, counted := int(last.seq-first.seq), max(int(int32(last.reply-first.reply)), 0)
	res.LossOut = percent(gone-counted, gone)
	res.LossIn = percent(counted-(came-1), counted)
	return res
}

func percent(part, whole int) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(min(max(part, 0), whole)) * 100 / float64(whole)
}
