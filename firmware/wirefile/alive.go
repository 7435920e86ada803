package wirefile

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Alive reports that the process that published still runs. One that has ended and
// waits for its parent (a zombie) does not: a signal would still find it, so its file
// would be believed until somebody looks again. The number may by now be another
// process's; whoever needs to know compares names too.
func Alive(pid int) bool {
	if pid <= 0 {
		return false
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return !errors.Is(err, unix.ESRCH) // can't tell: believe it
	}
	defer unix.Close(fd)
	n, _ := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n == 0
}
