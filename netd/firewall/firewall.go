package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/netd/config"

	"github.com/coreos/go-iptables/iptables"
)

// A family is one of the two packet filters.
type family struct {
	proto   iptables.Protocol
	restore string // program
	chains  []chain
}

// patience bounds one run of iptables-restore.
const patience = 30 * time.Second

// Install puts the rules for c in force, IPv6 first, as it only denies. It starts
// programs of the iptables package, found in PATH or /usr/sbin. Stop anywhere:
// the generation in force before is in force still, or the new one is; what is
// left over goes at the next Install.
func Install(ctx context.Context, c config.Config) error {
	families := []family{
		{iptables.ProtocolIPv6, "ip6tables-restore", rules6()},
		{iptables.ProtocolIPv4, "iptables-restore", rules4(c)},
	}
	for _, f := range families {
		if err := f.install(ctx); err != nil {
			return fmt.Errorf("firewall, %s: %w", f.restore, err)
		}
	}
	return nil
}

func (f family) install(ctx context.Context) error {
	name := "iptables"
	if f.proto == iptables.ProtocolIPv6 {
		name = "ip6tables"
	}
	program, err := find(name)
	if err != nil {
		return err
	}
	ipt, err := iptables.New(iptables.IPFamily(f.proto), iptables.Path(program))
	if err != nil {
		return err
	}
	old, anchored, err := f.generations(ipt)
	if err != nil {
		return err
	}
	n := 1 + slices.Max(append(old, 0))
	if err := f.run(ctx, build(f.chains, n)); err != nil {
		// Stop here, or fail to drop: chains nothing jumps to, which the next
		// generation of that number overwrites.
		return errors.Join(err, f.drop(ipt, n))
	}
	// Stop within the first of these, between two tables: the next Install puts a
	// second jump into the first table, and its rules are all harmless twice.
	if err := f.run(ctx, turn(f.chains, n, !anchored)); err != nil {
		return err
	}
	if anchored {
		err = f.anchor(ipt)
	}
	for _, o := range old {
		err = errors.Join(err, f.drop(ipt, o))
	}
	return err
}

// anchor mends jumps that someone took out; at the first generation turn makes
// them, as each look costs a process.
func (f family) anchor(ipt *iptables.IPTables) error {
	for _, c := range f.chains {
		if err := ipt.InsertUnique(c.table, c.hook, 1, "-j", c.anchor()); err != nil {
			return err
		}
	}
	return nil
}

var generationForm = regexp.MustCompile(`^cg-(\d{1,9})-`)

// generations lists those that have chains, and says whether the anchors are
// there. The filter table speaks for all: it is turned last.
func (f family) generations(ipt *iptables.IPTables) (old []int, anchored bool, err error) {
	names, err := ipt.ListChains("filter")
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		anchored = anchored || name == f.chains[len(f.chains)-1].anchor()
		if m := generationForm.FindStringSubmatch(name); m != nil {
			if n, err := strconv.Atoi(m[1]); err == nil && !slices.Contains(old, n) {
				old = append(old, n)
			}
		}
	}
	return old, anchored, nil
}

// drop removes the chains of a generation that nothing jumps to.
func (f family) drop(ipt *iptables.IPTables, n int) error {
	for _, c := range f.chains {
		there, err := ipt.ChainExists(c.table, c.generation(n))
		if err == nil && there {
			err = ipt.ClearAndDeleteChain(c.table, c.generation(n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// run feeds text to iptables-restore, which keeps everything it isn't told about.
func (f family) run(ctx context.Context, text string) error {
	program, err := find(f.restore)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--noflush")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s --noflush: %w: %s", program, err, bytes.TrimSpace(out))
	}
	return nil
}

// find returns a program's path; a service's PATH may lack the sbin folders.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	path := "/usr/sbin/" + name
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find program: %w", err)
	}
	return path, nil
}
