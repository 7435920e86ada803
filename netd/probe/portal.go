package probe

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"time"
)

// Portal asks a page that is known to answer with nothing (204) through one uplink:
// a guest network that wants people to sign in answers in its place.
type Portal struct {
	Dev       string
	Mark      uint32
	URL       string
	Resolvers []netip.Addr // asked for the URL's name through the same uplink
}

// Finding is what an asking showed. Without Host, Names and Clear it showed nothing:
// the page did not answer at all, or not as itself.
type Finding struct {
	Clear bool   // the internet itself answered
	Host  string // of the sign-in page that answered instead
	Names string // why the page's name does not resolve
}

// Bounds of one asking.
const (
	portalTime   = 5 * time.Second
	portalHeader = 16 << 10
	portalBody   = 64 // no need to read a sign-in page
)

// Ask asks once. It opens a connection of its own and follows nothing.
func (p Portal) Ask(ctx context.Context) Finding {
	ctx, cancel := context.WithTimeout(ctx, portalTime)
	defer cancel()
	u, err := url.Parse(p.URL)
	if err != nil {
		return Finding{}
	}
	addr, why := p.resolve(ctx, u.Hostname())
	if !addr.IsValid() {
		return Finding{Names: why}
	}
	dial := net.Dialer{Control: through(p.Dev, p.Mark)}
	once := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: portalHeader,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dial.DialContext(ctx, "tcp4", net.JoinHostPort(addr.String(), cmp.Or(u.Port(), "80")))
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL, nil)
	if err != nil {
		return Finding{}
	}
	req.Header.Set("User-Agent", "clinicgate")
	resp, err := once.RoundTrip(req)
	if err != nil {
		return Finding{}
	}
	defer resp.Body.Close()
	return judge(resp, u.Hostname())
}

// judge says who answered.
func judge(resp *http.Response, host string) Finding {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, portalBody)) // a part is enough
	switch code := resp.StatusCode; {
	case code == http.StatusNoContent && len(body) == 0:
		return Finding{Clear: true}
	case code >= 300 && code < 400:
		if to, err := resp.Location(); err == nil && hostForm.MatchString(to.Hostname()) {
			host = to.Hostname()
		}
		return Finding{Host: host}
	case code >= 200 && code < 300 && len(body) > 0, code == http.StatusNetworkAuthenticationRequired:
		return Finding{Host: host}
	}
	return Finding{}
}

// hostForm is what of a stranger's words may get into ours.
var hostForm = regexp.MustCompile(`^[A-Za-z0-9.:-]{1,100}$`)

// resolve looks a name up through the uplink. An address is its own answer; without
// resolvers nothing can be said.
func (p Portal) resolve(ctx context.Context, host string) (netip.Addr, string) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, ""
	}
	if len(p.Resolvers) == 0 {
		return netip.Addr{}, ""
	}
	next := 0
	dial := net.Dialer{Control: through(p.Dev, p.Mark)}
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		server := p.Resolvers[next%len(p.Resolvers)]
		next++
		return dial.DialContext(ctx, network, netip.AddrPortFrom(server, 53).String())
	}}
	all, err := r.LookupNetIP(ctx, "ip4", host+".")
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return netip.Addr{}, p.Resolvers[0].String() + " does not know " + host
	case err != nil || len(all) == 0:
		return netip.Addr{}, p.Resolvers[0].String() + " does not answer"
	}
	return all[0].Unmap(), ""
}
