package resolver

import (
	"context"
	"net/netip"
	"strings"

	"clinicgate/netd/config"

	"github.com/miekg/dns"
)

// respond returns the answer to a device's message in wire form, at most size
// bytes; nil: it deserves none.
func (s *Server) respond(ctx context.Context, b []byte, from netip.Addr, size int) []byte {
	zone, inside := s.zone(from)
	req := new(dns.Msg)
	if err := req.Unpack(b); !inside || len(b) < 12 || b[2]&0x80 != 0 {
		return nil // an answer is not answered, whatever it is
	} else if err != nil {
		return malformed(b)
	}
	r := s.reply(ctx, req, zone)
	out := r.m
	opt := req.IsEdns0()
	out.Id, out.Response, out.Opcode = req.Id, true, req.Opcode
	out.RecursionDesired, out.RecursionAvailable, out.CheckingDisabled = req.RecursionDesired, true, req.CheckingDisabled
	out.AuthenticatedData = false // we have proven nothing (RFC 4035 §3.2.3)
	out.Question = req.Question[:min(len(req.Question), 1)]
	out.Extra, out.Compress = nil, true
	limit := size // by TCP, whatever the device says it takes by UDP
	if size <= udpSize {
		limit = dns.MinMsgSize
	}
	if opt != nil {
		if size <= udpSize {
			limit = min(size, max(int(opt.UDPSize()), dns.MinMsgSize))
		}
		out.Extra = []dns.RR{edns(opt, r)}
	}
	out.Truncate(limit)
	wire, err := out.Pack()
	if err != nil {
		s.log.Debug("build answer", "err", err)
		return malformed(b)
	}
	return wire
}

// malformed says that a message was not understood, with its number.
func malformed(b []byte) []byte {
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Id: uint16(b[0])<<8 | uint16(b[1]), Response: true, Rcode: dns.RcodeFormatError}}
	wire, err := m.Pack()
	if err != nil {
		return nil
	}
	return wire
}

// edns is our side of EDNS (RFC 6891), with the reason of an answer that is not
// what it should be (RFC 8914).
func edns(asked *dns.OPT, r reply) *dns.OPT {
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(udpSize)
	opt.SetDo(asked.Do())
	if asked.Version() != 0 {
		opt.SetExtendedRcode(dns.RcodeBadVers)
	}
	if r.text != "" {
		opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: r.code, ExtraText: r.text}}
	}
	return opt
}

func plain(rcode int) reply {
	return reply{m: &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: rcode}}}
}

// reply decides who answers a question: the box itself, or others.
func (s *Server) reply(ctx context.Context, req *dns.Msg, zone config.Zone) reply {
	opt := req.IsEdns0()
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return plain(dns.RcodeNotImplemented)
	case len(req.Question) != 1:
		return plain(dns.RcodeFormatError)
	case opt != nil && opt.Version() != 0:
		return plain(dns.RcodeBadVers)
	}
	q := req.Question[0]
	switch {
	case q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR || q.Qtype == dns.TypeOPT || q.Qtype == 0:
		return plain(dns.RcodeRefused)
	case q.Qtype == dns.TypeANY: // RFC 8482 §4.2
		m := plain(dns.RcodeSuccess)
		m.m.Answer = []dns.RR{&dns.HINFO{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeHINFO, Class: dns.ClassINET, Ttl: 3600}, Cpu: "RFC8482"}}
		return m
	}
	if m, ours := s.names.Answer(q, zone); ours {
		s.mu.Lock()
		s.count.local++
		s.mu.Unlock()
		return reply{m: m}
	}
	// A medical device needs the clinic's names. Through others' it could be led,
	// or lead, out.
	if zone.Kind == config.KindDevices || zone.Kind == config.KindService {
		return refusal(dns.ExtendedErrorCodeProhibited, "this zone may ask for the clinic's names only")
	}
	if !req.RecursionDesired {
		return refusal(dns.ExtendedErrorCodeNotAuthoritative, "ask for recursion")
	}
	return s.resolve(ctx, question{name: strings.ToLower(q.Name), kind: q.Qtype, do: opt != nil && opt.Do(), cd: req.CheckingDisabled})
}
