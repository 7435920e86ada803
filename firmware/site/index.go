package site

import (
	"fmt"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// index maps each key of a well-formed document to its line. Tables of arrays
// appear as "net.uplink[0]"; the array itself has the line of its first table.
func index(data []byte) map[string]int {
	lines := map[string]int{}
	count := map[string]int{}
	prefix := ""
	p := unstable.Parser{}
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		name, line := key(&p, e)
		switch e.Kind {
		case unstable.Table:
			prefix = resolve(name, count)
			mark(lines, prefix, line)
		case unstable.ArrayTable:
			array := resolve(name, count)
			prefix = fmt.Sprintf("%s[%d]", array, count[array])
			count[array]++
			mark(lines, array, line)
			mark(lines, prefix, line)
		case unstable.KeyValue:
			if prefix != "" {
				name = prefix + "." + name
			}
			mark(lines, name, line)
		}
	}
	return lines
}

// mark notes the line of a key and of parents that have none of their own.
func mark(lines map[string]int, key string, line int) {
	for k := key; k != ""; k = parent(k) {
		if _, ok := lines[k]; !ok {
			lines[k] = line
		}
	}
}

// resolve puts the current index behind each array on the way to name:
// "net.uplink.probe" → "net.uplink[1].probe" inside the second [[net.uplink]].
func resolve(name string, count map[string]int) string {
	steps := strings.Split(name, ".")
	full := ""
	for i, s := range steps {
		if i > 0 {
			full += "."
		}
		full += s
		if n := count[full]; n > 0 && i < len(steps)-1 {
			full = fmt.Sprintf("%s[%d]", full, n-1)
		}
	}
	return full
}

// key returns the dotted key of an expression and the line of its first part.
func key(p *unstable.Parser, e *unstable.Node) (string, int) {
	var parts []string
	line := 0
	for it := e.Key(); it.Next(); {
		n := it.Node()
		if line == 0 {
			line = p.Shape(n.Raw).Start.Line
		}
		parts = append(parts, string(n.Data))
	}
	return strings.Join(parts, "."), line
}
