package tpm

import (
	"fmt"
	"os"
	"syscall"
)

// Open opens a TPM's device so that reading waits for the answer. os.OpenFile would
// open it without blocking, because it can be polled, and then the device answers
// "nothing yet" with an empty read, which looks like the end of a file.
func Open(path string) (*os.File, error) {
	for {
		fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open the TPM: %w", &os.PathError{Op: "open", Path: path, Err: err})
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}
