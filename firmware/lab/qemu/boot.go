package qemu

import (
	"context"
	"time"
)

// firstWord is how long an emulated machine may take to its first word.
const firstWord = 2 * time.Minute

// Boot starts the machine and waits for its first word on the console. Under load
// the emulator now and then resets its processors before the kernel has started
// and ends without a word; nothing of ours has run then, so it is started once
// more, and told is called with the reason.
func Boot(ctx context.Context, cfg Config, told func(string)) (*VM, error) {
	vm, err := Start(ctx, cfg)
	if err != nil || vm.speaks(firstWord) {
		return vm, err
	}
	told("the emulator ended before the machine's first word; starting it once more")
	return Start(ctx, cfg)
}

// speaks waits for the first word. It is false when the machine ended without one;
// a machine that stays silent is its tests' to judge.
func (vm *VM) speaks(limit time.Duration) bool {
	timeout := time.After(limit)
	c := vm.console
	for {
		c.mu.Lock()
		said, more, ended := c.text.Len() > 0, c.more, c.ended
		c.mu.Unlock()
		if said || ended {
			return said
		}
		select {
		case <-more:
		case <-timeout:
			return true
		}
	}
}
