package ctnl

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/netlink"

	"clinicgate/failoverd/flowsync/flow"
)

func end(s string) flow.End { return flow.EndOf(netip.MustParseAddrPort(s)) }

// natted leaves under 198.51.100.9 and another port than it came with.
func natted() flow.Flow {
	return flow.Flow{
		Key:    flow.Key{Proto: flow.TCP, Tuple: flow.Tuple{Src: end("10.20.0.50:40000"), Dst: end("192.0.2.10:443")}},
		Reply:  flow.Tuple{Src: end("192.0.2.10:443"), Dst: end("198.51.100.9:1024")},
		Status: flow.StatusMask, Mark: 0x20000, Timeout: 7200, State: flow.Established, Scale: [2]uint8{7, 9},
	}
}

// The library reads what we write: all but NAT, which it doesn't know.
func TestEncode(t *testing.T) {
	f := natted()
	m, err := encodeNew(f)
	if err != nil {
		t.Fatal(err)
	}
	ev, ok, err := decode(m, 0xff0000)
	f.Reply = f.Inverse() // the kernel rewrites
	if err != nil || !ok || ev.Flow != f || ev.Gone || ev.Partial {
		t.Errorf("got %+v, %v, %v\nwant %+v", ev, ok, err, f)
	}
	if ev, _, _ := decode(m, 0x0f0000); ev.Flow.Mark != 0x20000 {
		t.Errorf("mark %#x", ev.Flow.Mark)
	}
	if ev, _, _ := decode(m, 0xff); ev.Flow.Mark != 0 {
		t.Errorf("mark %#x of others was passed on", ev.Flow.Mark)
	}
	m, err = encodeDelete(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Type != 1<<8|msgDelete {
		t.Errorf("delete has type %#x", m.Header.Type)
	}
}

func FuzzEach(f *testing.F) {
	if m, err := encodeNew(natted()); err == nil {
		m.Header.Length = uint32(16 + len(m.Data))
		if b, err := m.MarshalBinary(); err == nil {
			f.Add(b)
			f.Add(append(b, 0, 0, 0, 0))
		}
	}
	f.Add(make([]byte, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		each(b, func(m netlink.Message) error {
			decode(m, ^uint32(0))
			return nil
		})
	})
}
