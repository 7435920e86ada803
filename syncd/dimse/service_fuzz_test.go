package dimse

import (
	"context"
	"log/slog"
	"testing"

	"clinicgate/syncd/dimse/association"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/pdu"
)

// Whatever fragments come: no panic, no goroutine left, every answer is a command
// set, and there is at most one for each command.
func FuzzService(f *testing.F) {
	rq := command.Append(nil, storeRQ(1))
	f.Add(append([]byte{3, 3, byte(len(rq))}, rq...))
	f.Add([]byte{1, 3, 4, 1, 2, 3, 4, 3, 0, 1, 9, 3, 2, 1, 9})
	agreed := &association.Agreed{Caller: "ECGCART", PeerMax: 16384, Contexts: map[byte]association.Context{
		1: {Class: "1.2.840.10008.1.1", Syntax: "1.2.840.10008.1.2"}, 3: {Class: ecgClass, Syntax: explicit}}}
	f.Fuzz(func(t *testing.T, in []byte) {
		commands, answers := 0, 0
		s := &service{door: drain{}, log: slog.New(slog.DiscardHandler), send: func(_ byte, b, _ []byte) {
			answers++
			if _, err := command.Parse(b); err != nil {
				t.Errorf("sent %x: %v", b, err)
			}
		}}
		// Each fragment is its context, its control byte, its length, its value.
		for len(in) >= 3 {
			n := min(int(in[2]), len(in)-3)
			v := pdu.PDV{Context: in[0]%4 | 1, Command: in[1]&1 != 0, Last: in[1]&2 != 0, Value: in[3 : 3+n]}
			if v.Command && v.Last {
				commands++
			}
			if s.data(context.Background(), agreed, &pdu.Data{PDVs: []pdu.PDV{v}}) != nil {
				break
			}
			in = in[3+n:]
		}
		s.end(errAnswered)
		if answers > commands {
			t.Errorf("%d answers to %d commands", answers, commands)
		}
	})
}
