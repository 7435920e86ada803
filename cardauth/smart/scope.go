package smart

import "strings"

// perms are SMART v2's, in their order.
const perms = "cruds"

// A clinical scope is context/Type.perms (SMART App Launch 2 §3.0.2).
type clinical struct{ context, typ, perms string }

// parseClinical reads a clinical scope; version 1's words are turned into
// version 2's. Search parameters in a scope are not known here: such a scope is
// none.
func parseClinical(s string) (clinical, bool) {
	context, rest, ok := strings.Cut(s, "/")
	typ, p, dot := strings.Cut(rest, ".")
	if !ok || !dot || context != "user" && context != "patient" && context != "system" || typ == "" {
		return clinical{}, false
	}
	switch p {
	case "read":
		p = "rs"
	case "write":
		p = "cud"
	case "*":
		p = perms
	}
	if p == "" || strings.Trim(p, perms) != "" {
		return clinical{}, false
	}
	return clinical{context, typ, p}, true
}

// Narrow returns what of the scopes wanted is in each of the others. Scopes that
// are no clinical ones pass when all others name them too, role's aside: those give
// no rights.
func Narrow(wanted, app, role string) string {
	var out []string
	for _, w := range strings.Fields(wanted) {
		want, isClinical := parseClinical(w)
		if !isClinical {
			if known(w) && Has(app, w) {
				out = append(out, w)
			}
			continue
		}
		if s := within(within([]clinical{want}, app), role); len(s) > 0 {
			for _, one := range s {
				out = append(out, one.context+"/"+one.typ+"."+one.perms)
			}
		}
	}
	return strings.Join(dedupe(out), " ")
}

// known are the scopes beside clinical ones that mean something here.
func known(s string) bool {
	return s == "openid" || s == "fhirUser" || s == "online_access" || s == "launch"
}

// Has reports whether a scope is among scopes.
func Has(scopes, one string) bool {
	for _, s := range strings.Fields(scopes) {
		if s == one {
			return true
		}
	}
	return false
}

// within is what of wanted the scopes allow.
func within(wanted []clinical, allowed string) (out []clinical) {
	for _, w := range wanted {
		for _, s := range strings.Fields(allowed) {
			a, ok := parseClinical(s)
			if !ok || a.context != w.context || a.typ != "*" && w.typ != "*" && a.typ != w.typ {
				continue
			}
			both := clinical{w.context, w.typ, ""}
			if w.typ == "*" {
				both.typ = a.typ
			}
			for _, p := range perms {
				if strings.ContainsRune(w.perms, p) && strings.ContainsRune(a.perms, p) {
					both.perms += string(p)
				}
			}
			if both.perms != "" {
				out = append(out, both)
			}
		}
	}
	return out
}

func dedupe(all []string) (out []string) {
	seen := map[string]bool{}
	for _, s := range all {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}
