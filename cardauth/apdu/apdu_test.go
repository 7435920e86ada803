package apdu

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestEncode(t *testing.T) {
	long := bytes.Repeat([]byte{0xAB}, 300)
	for _, c := range []struct {
		name string
		cmd  Command
		want string
	}{
		{"case 1", Command{0, 0x20, 0, 0x80, nil, 0}, "00200080"},
		{"case 2 short", Command{0, 0xC0, 0, 0, nil, 5}, "00C0000005"},
		{"case 2 short, 256", Command{0, 0xC0, 0, 0, nil, 256}, "00C0000000"},
		{"case 3 short", Command{0, 0x20, 0, 0x80, []byte{1, 2}, 0}, "00200080020102"},
		{"case 4 short", Command{0, 0xCB, 0x3F, 0xFF, []byte{1}, 256}, "00CB3FFF010100"},
		{"case 2 extended", Command{0, 0xC0, 0, 0, nil, 257}, "00C00000000101"},
		{"case 2 extended, 65536", Command{0, 0xC0, 0, 0, nil, 65536}, "00C00000000000"},
		{"case 3 extended", Command{0, 0x87, 7, 0x9A, long, 0}, "0087079A00012C" + strings.Repeat("AB", 300)},
		{"case 4 extended", Command{0, 0x87, 7, 0x9A, []byte{1}, 300}, "0087079A00000101012C"},
	} {
		got, err := c.cmd.Encode()
		if err != nil || strings.ToUpper(hex.EncodeToString(got)) != c.want {
			t.Errorf("%s: got %X, %v, want %s", c.name, got, err, c.want)
		}
	}
	for _, c := range []Command{{Data: make([]byte, 65536)}, {Ne: 65537}, {Ne: -1}} {
		if _, err := c.Encode(); !errors.Is(err, ErrTooLong) {
			t.Errorf("%d bytes, Ne %d: got %v, want ErrTooLong", len(c.Data), c.Ne, err)
		}
	}
}

func TestForT0(t *testing.T) {
	for cmd, want := range map[string]string{
		"0020FF80":         "0020FF8000",
		"00C0000010":       "00C0000010",
		"0020008002AABB":   "0020008002AABB",
		"00CB3FFF02AABB00": "00CB3FFF02AABB",
		"00CB3FFF00000100": "00CB3FFF00000100", // extended: left alone
	} {
		raw, err := hex.DecodeString(cmd)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.ToUpper(hex.EncodeToString(ForT0(raw))); got != want || strings.ToUpper(hex.EncodeToString(raw)) != cmd {
			t.Errorf("%s: got %s, want %s", cmd, got, want)
		}
	}
}

// A script is a card that answers in order and remembers what it was sent.
type script struct {
	answers []string
	sent    []string
	raw     [][]byte
}

func (s *script) Transmit(cmd []byte) ([]byte, error) {
	s.sent = append(s.sent, strings.ToUpper(hex.EncodeToString(cmd)))
	s.raw = append(s.raw, cmd)
	if len(s.sent) > len(s.answers) {
		return nil, errors.New("card out")
	}
	return hex.DecodeString(s.answers[len(s.sent)-1])
}

func TestExchange(t *testing.T) {
	for _, c := range []struct {
		name    string
		cmd     Command
		answers []string
		sent    []string
		data    string
		status  Status
	}{
		{"plain", Command{0, 0xCB, 0, 0, nil, 256}, []string{"0102 9000"}, []string{"00CB000000"}, "0102", OK},
		{"in pieces", Command{0, 0xCB, 0, 0, nil, 256}, []string{"01 6102", "0203 6100", "04 9000"},
			[]string{"00CB000000", "00C0000002", "00C0000000"}, "01020304", OK},
		{"wrong Le", Command{0, 0xCB, 0, 0, nil, 256}, []string{"6C03", "010203 9000"}, []string{"00CB000000", "00CB000003"}, "010203", OK},
		{"wrong Le for ever", Command{0, 0xCB, 0, 0, nil, 256}, []string{"6C03", "6C04"}, []string{"00CB000000", "00CB000003"}, "", 0x6C04},
		{"chained", Command{0, 0x87, 7, 0x9A, bytes.Repeat([]byte{0xAA}, 256), 256}, []string{"9000", "05 9000"},
			[]string{"1087079AFF" + strings.Repeat("AA", 255), "0087079A01AA00"}, "05", OK},
		{"no chaining", Command{0, 0x87, 7, 0x9A, make([]byte, 256), 256}, []string{"6884", "05 9000"},
			[]string{"1087079AFF" + strings.Repeat("00", 255), "0087079A000100" + strings.Repeat("00", 256) + "0100"}, "05", OK},
		{"neither chaining nor extended", Command{0, 0x87, 7, 0x9A, make([]byte, 256), 256}, []string{"6E00", "6700"},
			[]string{"1087079AFF" + strings.Repeat("00", 255), "0087079A000100" + strings.Repeat("00", 256) + "0100"}, "", WrongLength},
		{"chain refused", Command{0, 0x87, 7, 0x9A, make([]byte, 256), 256}, []string{"6982"},
			[]string{"1087079AFF" + strings.Repeat("00", 255)}, "", NotSatisfied},
		{"refused", Command{0, 0x20, 0, 0x80, nil, 0}, []string{"63C2"}, []string{"00200080"}, "", 0x63C2},
	} {
		s := &script{}
		for _, a := range c.answers {
			s.answers = append(s.answers, strings.ReplaceAll(a, " ", ""))
		}
		r, err := Exchange(s, c.cmd)
		if err != nil || hex.EncodeToString(r.Data) != c.data || r.Status != c.status {
			t.Errorf("%s: got %X %v, %v", c.name, r.Data, r.Status, err)
		}
		if fmt.Sprint(s.sent) != fmt.Sprint(c.sent) {
			t.Errorf("%s: sent %v, want %v", c.name, s.sent, c.sent)
		}
	}
}

func TestExchangeErrors(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		want    error
	}{
		"empty answer":  {[]string{""}, ErrNoStatus},
		"one byte":      {[]string{"90"}, ErrNoStatus},
		"cut in pieces": {[]string{"016101", "90"}, ErrNoStatus},
	} {
		if _, err := Exchange(&script{answers: c.answers}, Command{Ne: 256}); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := Exchange(&script{}, Command{}); err == nil || err.Error() != "card out" {
		t.Errorf("broken transport: got %v", err)
	}
}

// always answers the same for ever.
type always []byte

func (a always) Transmit([]byte) ([]byte, error) { return a, nil }

// A card that says "more" for ever, with and without data, is given up.
func TestEndlessAnswer(t *testing.T) {
	for _, a := range []always{{0x61, 0x00}, append(make(always, 256), 0x61, 0x00), append(make(always, 70000), 0x90, 0x00)} {
		if _, err := Exchange(a, Command{Ne: 256}); !errors.Is(err, ErrEndless) {
			t.Errorf("%d bytes a piece: got %v, want ErrEndless", len(a)-2, err)
		}
	}
}

// What was sent is wiped: it may have been a PIN.
func TestExchangeWipesWhatItSent(t *testing.T) {
	s := &script{answers: []string{"9000"}}
	if _, err := Exchange(s, Command{Ins: 0x20, P2: 0x80, Data: []byte("123456\xff\xff")}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.raw[0], make([]byte, len(s.raw[0]))) {
		t.Errorf("left in memory: %X", s.raw[0])
	}
}

func TestStatus(t *testing.T) {
	for s, want := range map[Status]string{
		OK: "9000 success", 0x63C2: "63C2 2 tries left", NotSatisfied: "6982 security status not satisfied",
		0x6104: "6104 more data waiting", 0x6C10: "6C10 wrong Le", 0x6282: "6282 warning", 0x6401: "6401 execution error", 0x1234: "1234 unknown status",
	} {
		if s.String() != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
	if n, ok := Status(0x63C0).Tries(); n != 0 || !ok {
		t.Errorf("63C0: got %d, %v", n, ok)
	}
	if _, ok := OK.Tries(); ok {
		t.Error("9000 says tries")
	}
	if got := (&StatusError{"select PIV", NotFound}).Error(); got != "select PIV: card says 6A82 file or application not found" {
		t.Error(got)
	}
}

// pieces plays the fuzzer's bytes as answers: a length byte, then that many.
type pieces struct{ data []byte }

func (p *pieces) Transmit([]byte) ([]byte, error) {
	if len(p.data) == 0 {
		return nil, errors.New("card out")
	}
	n := min(int(p.data[0]), len(p.data)-1)
	out := p.data[1 : 1+n]
	p.data = p.data[1+n:]
	return out, nil
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte{3, 1, 0x61, 2, 4, 2, 3, 0x90, 0})
	f.Add([]byte{2, 0x6C, 3, 2, 0x90, 0})
	f.Add([]byte{1, 0x90})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Exchange(&pieces{data}, Command{Ins: 0xCB, Data: make([]byte, 300), Ne: 256})
		if err == nil && len(r.Data) > len(data) {
			t.Fatalf("%d bytes out of %d", len(r.Data), len(data))
		}
	})
}
