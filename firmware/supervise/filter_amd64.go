package supervise

import "golang.org/x/sys/unix"

const (
	auditArch = unix.AUDIT_ARCH_X86_64
	// foreignCalls begins the numbers of the x32 interface.
	foreignCalls = 0x40000000
)

// deniedHere are those only this architecture has.
var deniedHere = []uintptr{unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_MKNOD}
