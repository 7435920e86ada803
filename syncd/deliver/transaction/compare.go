package transaction

import "fmt"

// differs names the first place at which got lacks what was sent, or has it
// otherwise; empty: nowhere. A server may add to a resource (meta, a narrative) and
// may write numbers its own way.
func differs(sent, got any, at string) string {
	switch s := sent.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return at
		}
		for name, v := range s {
			if name == "meta" {
				continue // the server's
			}
			if where := differs(v, g[name], at+"."+name); where != "" {
				return where
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(s) {
			return at
		}
		for i := range s {
			if where := differs(s[i], g[i], fmt.Sprintf("%s[%d]", at, i)); where != "" {
				return where
			}
		}
		return ""
	}
	if sent != got {
		return at
	}
	return ""
}
