package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
)

// LogLine makes one log line readable: a JSON line of ours becomes time, level,
// program, message and the rest as key=value. Anything else stays as it is, but
// for what a terminal would obey.
func LogLine(line string) string {
	fields := map[string]any{}
	if json.Unmarshal([]byte(line), &fields) != nil || fields["msg"] == nil {
		return ascii.Text(line)
	}
	take := func(key string) string {
		v := fields[key]
		delete(fields, key)
		if v == nil {
			return ""
		}
		return fmt.Sprint(v)
	}
	at := take("time")
	if t, err := time.Parse(time.RFC3339Nano, at); err == nil {
		at = t.UTC().Format("01-02 15:04:05")
	}
	words := []string{at, fmt.Sprintf("%-5s", take("level")), fmt.Sprintf("%-9s", take("program")), take("msg")}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fmt.Sprint(fields[key])
		odd := func(r rune) bool { return r <= ' ' || r == '"' || r == '=' }
		if value == "" || strings.ContainsFunc(value, odd) {
			value = fmt.Sprintf("%q", value)
		}
		words = append(words, key+"="+value)
	}
	return ascii.Text(strings.Join(words, " "))
}

// Plain is text made safe for a serial terminal, line by line.
func Plain(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(ascii.Text(l), " ")
	}
	return strings.Join(lines, "\n")
}
