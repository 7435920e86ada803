package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// A chain is one of ours in the making.
type chain struct {
	table string // iptables table
	hook  string // built-in chain it hangs below; empty: others of ours jump to it
	name  string // without a hook only
	deny  bool   // the hook's policy is to drop
	rules []string
}

// key is the chain's part of a name: "cg-7-input" is generation 7's.
func (c chain) key() string {
	switch {
	case c.hook == "":
		return c.name
	case c.table == "filter":
		return strings.ToLower(c.hook)
	}
	return c.table + "-" + strings.ToLower(c.hook)
}

// anchor is the chain that stays; it holds the one jump to a generation.
func (c chain) anchor() string { return "cg-" + c.key() }

func (c chain) generation(n int) string { return generation(n, c.key()) }

func generation(n int, key string) string { return fmt.Sprintf("cg-%d-%s", n, key) }

// here stands in a rule for the generation it will be part of.
const here = "cg-N-"

// build is the input of iptables-restore that makes generation n. Nothing jumps
// to it yet, so a refusal at any line changes nothing for any packet.
func build(chains []chain, n int) string {
	return restore(chains, func(b *strings.Builder, all []chain) {
		for _, c := range all {
			fmt.Fprintf(b, ":%s - [0:0]\n", c.generation(n))
		}
		for _, c := range all {
			for _, r := range c.rules {
				fmt.Fprintf(b, "-A %s %s\n", c.generation(n), strings.ReplaceAll(r, here, generation(n, "")))
			}
		}
	})
}

// turn is the input that makes generation n the one in force, or with 0 none.
// Naming a chain of ours empties it, and each table is one transaction of the
// kernel: no packet meets an empty anchor. Those of which fresh says so are put
// first in their hooks as well.
func turn(chains []chain, n int, fresh func(chain) bool) string {
	return restore(chains, func(b *strings.Builder, all []chain) {
		for _, c := range all {
			if c.hook == "" {
				continue
			}
			if c.deny {
				fmt.Fprintf(b, ":%s DROP [0:0]\n", c.hook)
			}
			fmt.Fprintf(b, ":%s - [0:0]\n", c.anchor())
			if n > 0 {
				fmt.Fprintf(b, "-A %s -j %s\n", c.anchor(), c.generation(n))
			}
			if fresh(c) {
				fmt.Fprintf(b, "-I %s 1 -j %s\n", c.hook, c.anchor())
			}
		}
	})
}

// drop is the input that removes chains, by table, that nothing else jumps to.
func drop(byTable map[string][]string) string {
	var b strings.Builder
	for _, table := range tables {
		if len(byTable[table]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		for _, act := range []string{"-F", "-X"} {
			for _, name := range byTable[table] {
				fmt.Fprintf(&b, "%s %s\n", act, name)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// tables are those that hold chains of ours. The one that denies is the last.
var tables = [...]string{"raw", "mangle", "nat", "filter"}

// restore writes the chains' parts, one section per table.
func restore(chains []chain, part func(*strings.Builder, []chain)) string {
	var b strings.Builder
	for _, table := range tables {
		of := slices.DeleteFunc(slices.Clone(chains), func(c chain) bool { return c.table != table })
		if len(of) == 0 {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", table)
		part(&b, of)
		b.WriteString("COMMIT\n")
	}
	return b.String()
}
