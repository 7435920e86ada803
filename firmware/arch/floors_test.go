package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The floors, from the ground up. An import may only go down.
var floors = []string{"words", "judgement", "hands", "processes", "factory", "lab"}

// plan is the law of ARCHITECTURE.md.
type plan struct {
	floor    map[string]int      // package → index in floors
	sideways map[string][]string // package → packages of the same floor it may import
	modules  map[string][]string // third-party module → packages that may import it
}

func readPlan(t *testing.T) plan {
	p := plan{floor: map[string]int{}, sideways: map[string][]string{}, modules: map[string][]string{}}
	for _, r := range table(t, "Floors") {
		i := slices.Index(floors, r["floor"])
		if i < 0 {
			t.Fatalf("ARCHITECTURE.md: unknown floor %q", r["floor"])
		}
		for _, n := range names(r["package"]) {
			if _, twice := p.floor[n]; twice {
				t.Errorf("ARCHITECTURE.md: %s stands on two floors", n)
			}
			p.floor[n] = i
		}
	}
	for _, r := range table(t, "Sideways imports") {
		for _, from := range names(r["package"]) {
			p.sideways[from] = append(p.sideways[from], names(r["may import"])...)
		}
	}
	for _, r := range table(t, "Modules") {
		for _, m := range names(r["module"]) {
			p.modules[m] = append(p.modules[m], names(r["used by"])...)
		}
	}
	return p
}

// complaint says why one import breaks the plan; empty: it doesn't.
func (p plan) complaint(from, imp string) string {
	to, own := ours(imp)
	if !own {
		return p.foreign(from, imp)
	}
	f, t := p.floor[from], p.floor[to]
	cf, ct := component(from), component(to)
	switch {
	case floors[t] == "lab" && floors[f] != "lab":
		return "only tests and the lab import lab packages"
	case cf == "firmware" && ct != "firmware" && ct != "board":
		return "firmware never imports a component"
	case cf == "board":
		return "board imports nothing of ours"
	case cf != ct && ct != "firmware" && ct != "board":
		return fmt.Sprintf("%s and %s are different programs: they meet through files and sockets", cf, ct)
	case t < f || floors[f] == "lab" || slices.Contains(p.sideways[from], to):
		return ""
	case t == f:
		return "a sideways import that the plan does not list"
	}
	return fmt.Sprintf("from %s up to %s", floors[f], floors[t])
}

// foreign judges imports of the standard library and of other modules.
func (p plan) foreign(from, imp string) string {
	if !strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
		return p.standard(from, imp)
	}
	for m, users := range p.modules {
		if imp == m || strings.HasPrefix(imp, m+"/") {
			for _, u := range users {
				if u == from || strings.HasSuffix(u, "/...") && strings.HasPrefix(from+"/", strings.TrimSuffix(u, "...")) {
					return ""
				}
			}
			return "the plan lets only " + strings.Join(users, ", ") + " use this module"
		}
	}
	return "the plan does not list this module"
}

// standard keeps the world out of words and judgement.
func (p plan) standard(from, imp string) string {
	if imp == "C" && from != "cardauth/pcsc" {
		return "cgo lives in cardauth/pcsc alone"
	}
	if p.floor[from] > slices.Index(floors, "judgement") {
		return ""
	}
	if imp == "net" && floors[p.floor[from]] == "words" {
		return "" // a configuration uses its parsers
	}
	if slices.Contains([]string{"os", "os/exec", "net", "net/http", "syscall", "os/signal"}, imp) {
		return floors[p.floor[from]] + " touches no world"
	}
	return ""
}

func TestFloors(t *testing.T) {
	p := readPlan(t)
	seen := map[string]bool{}
	for _, pkg := range list(t) {
		from := pkg.path()
		seen[from] = true
		if _, placed := p.floor[from]; !placed {
			t.Errorf("%s: not on any floor of ARCHITECTURE.md", from)
			continue
		}
		for _, imp := range pkg.Imports {
			if why := p.complaint(from, imp); why != "" {
				t.Errorf("%s imports %s: %s", from, imp, why)
			}
		}
		for _, imp := range append(pkg.TestImports, pkg.XTestImports...) {
			to, own := ours(imp)
			if own && component(to) != component(from) && component(to) != "firmware" && component(to) != "board" && floors[p.floor[from]] != "lab" && floors[p.floor[to]] != "lab" {
				t.Errorf("tests of %s import %s: another program", from, imp)
			}
		}
	}
	for name := range p.floor {
		if !seen[name] {
			t.Errorf("ARCHITECTURE.md lists %s, which does not exist", name)
		}
	}
}

// The law itself is tested: each wall must stop what it is there to stop.
func TestWallsHold(t *testing.T) {
	p := plan{
		floor: map[string]int{
			"firmware/wire": 0, "netd/plan": 1, "netd/apply": 2, "netd/tunnel": 2, "netd": 3,
			"syncd/queue": 2, "firmware/init": 3, "firmware/lab": 5, "board": 0, "image": 4,
		},
		sideways: map[string][]string{"netd/apply": {"netd/tunnel"}},
		modules:  map[string][]string{"github.com/x/y": {"netd/apply"}, "golang.org/x/z": {"netd/..."}},
	}
	for _, c := range []struct {
		from, imp string
		ok        bool
	}{
		{"netd", "clinicgate/netd/apply", true},
		{"netd/apply", "clinicgate/netd/tunnel", true},
		{"netd/tunnel", "clinicgate/netd/apply", false},
		{"netd/plan", "clinicgate/netd/apply", false},
		{"netd/apply", "clinicgate/syncd/queue", false},
		{"firmware/init", "clinicgate/netd/plan", false},
		{"firmware/init", "clinicgate/board", true},
		{"board", "clinicgate/firmware/wire", false},
		{"netd", "clinicgate/firmware/lab", false},
		{"firmware/lab", "clinicgate/firmware/wire", true},
		{"netd/plan", "os", false},
		{"netd/plan", "net/netip", true},
		{"netd/apply", "os", true},
		{"netd/apply", "C", false},
		{"netd/apply", "github.com/x/y/sub", true},
		{"netd/tunnel", "github.com/x/y", false},
		{"netd/tunnel", "golang.org/x/z", true},
		{"netd/tunnel", "github.com/unlisted/m", false},
	} {
		if why := p.complaint(c.from, c.imp); (why == "") != c.ok {
			t.Errorf("%s → %s: complaint %q, want allowed=%v", c.from, c.imp, why, c.ok)
		}
	}
}
