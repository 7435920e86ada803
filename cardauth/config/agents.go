package config

import (
	"fmt"
	"net"
	"strings"

	"clinicgate/firmware/site"
)

// Agents is where the rooms' workstations with readers of their own call.
type Agents struct {
	Listen string // host:port; empty: no room has such a workstation
}

type agentsSection struct {
	Listen string `toml:"listen"`
}

// AgentReader is how the names of the readers of a room's workstation begin.
func AgentReader(room string) string { return "agent/" + room + "/" }

func agents(f *site.File, s agentsSection) (Agents, error) {
	if s.Listen != "" {
		if _, port, err := net.SplitHostPort(s.Listen); err != nil || port == "" {
			return Agents{}, f.Errorf("card.agents.listen", "got %q, want an address and port such as \":8445\"", s.Listen)
		}
	}
	return Agents(s), nil
}

// agentReader checks a reader of a room's workstation.
func agentReader(f *site.File, i int, match, room string, s agentsSection) error {
	key := func(k string) string { return fmt.Sprintf("card.reader[%d].%s", i, k) }
	switch {
	case match != "":
		return f.Errorf(key("match"), "got %q with agent = true, want none: the workstation's only reader is meant", match)
	case strings.ContainsAny(room, "/\n\r"):
		return f.Errorf(key("room"), "got %q, want no slash in the name of a room with agent = true", room)
	case s.Listen == "":
		return f.Errorf(key("agent"), "got true, want card.agents.listen too, or nobody can call")
	}
	return nil
}
