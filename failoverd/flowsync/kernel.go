package flowsync

import "clinicgate/failoverd/flowsync/ctnl"

// Marks are the bits of a connection's mark that travel: netd's, which say by
// which uplink a connection leaves. Both boxes must list their uplinks in the same
// order for them to mean the same.
const Marks = 0xff0000

// Conntrack is this machine's table of connections, as a Reader.
type Conntrack struct{}

// Listen opens the stream of changes.
func (Conntrack) Listen() (Events, error) { return ctnl.Listen(Marks, buffer) }

// List hands every entry to take.
func (Conntrack) List(take func(ctnl.Event)) error { return ctnl.List(Marks, take) }
