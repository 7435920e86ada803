package caller

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for name, c := range map[string]struct {
		device, says string
		want         Caller // without Peer
		refused      bool
	}{
		"a device by itself":      {"holter-1", "", Caller{Name: "holter-1", Itself: true}, false},
		"a person at it":          {"holter-1", "Bearer t", Caller{Name: "holter-1", Token: "t"}, false},
		"lower case":              {"desk-1", "bearer  t ", Caller{Name: "desk-1", Token: "t"}, false},
		"a device not let":        {"desk-1", "", Caller{Name: "desk-1"}, false},
		"another scheme":          {"holter-1", "Basic dDp0", Caller{Name: "holter-1"}, false},
		"no name":                 {"", "", Caller{}, true},
		"a name with a line feed": {"a\nb", "", Caller{}, true},
		"a long name":             {strings.Repeat("x", 65), "", Caller{}, true},
	} {
		r := &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{
			Raw: []byte("der"), Subject: pkix.Name{CommonName: c.device},
		}}}}
		if c.says != "" {
			r.Header.Set("Authorization", c.says)
		}
		got, err := Of(r, []string{"holter-1"})
		if c.refused {
			if err == nil {
				t.Errorf("%s: got %+v, want a refusal", name, got)
			}
			continue
		}
		c.want.Peer = "UFDYDSLs1HHqVd9wNAQsHgQTQf9AZuf2_zjiC3IN-Oo" // of "der"
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, c.want)
		}
	}
	if _, err := Of(&http.Request{Header: http.Header{}}, nil); err == nil {
		t.Error("a caller without a certificate is let in")
	}
}
