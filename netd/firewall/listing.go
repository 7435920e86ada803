package firewall

import (
	"context"
	"strings"
)

// Listing is what is in force, as iptables-save says it, with how often each rule was
// met. A part that can't be had says why.
func Listing(ctx context.Context) string {
	var b strings.Builder
	for _, name := range []string{"iptables-save", "ip6tables-save"} {
		out, err := program(ctx, name, "")
		if err != nil {
			out = err.Error() + "\n"
		}
		b.WriteString("# " + name + "\n" + out)
	}
	return b.String()
}
