package plan

import (
	"fmt"

	"clinicgate/netd/config"
)

// A Queue shapes what leaves by a device, so that it waits here and not in the
// provider's modem, where nobody's turn comes first. It has one class of traffic for
// each of config's, and what no class wants in use another takes, by importance.
type Queue struct {
	Dev  string
	Rate int64 // bits a second
}

// Numbers of a queue as `tc` shows it: qdisc 71:, classes 71:1 and below it 71:10,
// 71:20 and 71:30 for clinical, office and bulk.
const (
	QueueMajor = 0x71
	QueueRoot  = 0x1
)

// QueueClass is the minor number of config's class k in every queue.
func QueueClass(k int) uint16 { return uint16(k+1) << 4 }

// Guarantee is the part of a queue's rate, in percent, that class k has whatever the
// others send.
func Guarantee(k int) int64 { return [...]int64{50, 35, 15}[k] }

// queueShare of an uplink's rate is what a queue passes: a little less, or the queue
// would build up behind it all the same.
const queueShare = 95

// queues adds one for each uplink whose rate is known.
func (k *Kernel) queues(c config.Config) {
	for _, u := range c.Uplinks {
		if u.Up > 0 {
			k.Queues = append(k.Queues, Queue{Dev: u.Port, Rate: u.Up * queueShare / 100})
		}
	}
}

func (q Queue) String() string { return fmt.Sprintf("queue dev %s rate %dkbit", q.Dev, q.Rate/1000) }
