package ntp

import (
	"bytes"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	for _, at := range []time.Time{time.Unix(0, 0), time.Unix(1.7e9, 123456789), time.Date(2036, 2, 7, 6, 28, 15, 999999999, time.UTC), time.Date(2036, 2, 7, 6, 28, 17, 0, time.UTC)} {
		for _, d := range []time.Duration{0, time.Millisecond, -time.Millisecond, time.Hour, -24 * time.Hour, 20 * 365 * 24 * time.Hour} {
			if got := ToTime(at.Add(d)).Sub(ToTime(at)); (got - d).Abs() > 2*time.Nanosecond {
				t.Errorf("%v %v: got %v", at, d, got)
			}
		}
	}
	// RFC 5905 figure 4.
	if got := ToTime(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)); got>>32 != 2208988800 {
		t.Errorf("1970 is %d", got>>32)
	}
}

func TestRefused(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 47), make([]byte, 48), append([]byte{7 << 3}, make([]byte, 47)...)} {
		if p, err := Parse(b); err == nil {
			t.Errorf("%d bytes: %+v", len(b), p)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(Packet{Version: 4, Mode: Client, Transmit: 1}.Marshal())
	f.Add(append(Packet{Leap: 3, Version: 3, Mode: 6, RootDelay: time.Hour, Poll: -6}.Marshal(), make([]byte, 20)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(p.Marshal())
		if err != nil || again != p || !bytes.Equal(again.Marshal()[:4], b[:4]) {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}
