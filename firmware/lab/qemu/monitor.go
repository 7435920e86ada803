package qemu

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// monitor speaks QEMU's machine protocol (docs/interop/qmp-spec.txt): a JSON
// object each way, with events in between, which we skip.
type monitor struct {
	mu  sync.Mutex
	c   *conn
	dec *json.Decoder
}

// commandLimit bounds one command.
const commandLimit = 20 * time.Second

func greet(c *conn) (*monitor, error) {
	m := &monitor{c: c, dec: json.NewDecoder(c)}
	var hello struct {
		QMP json.RawMessage `json:"QMP"`
	}
	if err := c.SetDeadline(time.Now().Add(commandLimit)); err != nil {
		return nil, err
	}
	if err := m.dec.Decode(&hello); err != nil || hello.QMP == nil {
		return nil, fmt.Errorf("machine's monitor: no greeting: %w", err)
	}
	return m, m.command("qmp_capabilities", nil)
}

// Monitor runs one QMP command.
func (vm *VM) Monitor(command string, arguments map[string]any) error {
	return vm.qmp.command(command, arguments)
}

func (m *monitor) command(name string, arguments map[string]any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.c.SetDeadline(time.Now().Add(commandLimit)); err != nil {
		return fmt.Errorf("machine: %s: %w", name, err)
	}
	request := map[string]any{"execute": name}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.c).Encode(request); err != nil {
		return fmt.Errorf("machine: %s: %w", name, err)
	}
	for {
		var reply struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := m.dec.Decode(&reply); err != nil {
			return fmt.Errorf("machine: %s: %w", name, err)
		}
		if reply.Error != nil {
			return fmt.Errorf("machine: %s: %s", name, reply.Error.Desc)
		}
		if reply.Return != nil {
			return nil
		}
	}
}
