package main

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxKernelLog bounds what is told of the kernel's log; its own memory is about that
// long.
const maxKernelLog = 512 << 10

// kernelLog is what the kernel said since the start, as much as it remembers, in
// lines of dmesg's kind. Each read is one record (Documentation/ABI/testing/dev-kmsg).
func kernelLog(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's log: %w", err)
	}
	defer unix.Close(fd)
	var out bytes.Buffer
	record := make([]byte, 8<<10)
	for out.Len() < maxKernelLog {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR): // overtaken: there is a next one
			continue
		case errors.Is(err, unix.EAGAIN) || err == nil && n == 0:
			return out.Bytes(), nil
		case err != nil:
			return out.Bytes(), fmt.Errorf("read the kernel's log: %w", err)
		}
		out.WriteString(kernelLine(record[:n]))
	}
	return out.Bytes(), nil
}

// kernelLine makes "[    1.234567] words" of "6,1,1234567,-;words".
func kernelLine(record []byte) string {
	head, words, ok := bytes.Cut(record, []byte(";"))
	words, _, _ = bytes.Cut(words, []byte("\n")) // what follows is about devices
	fields := bytes.Split(head, []byte(","))
	if !ok || len(fields) < 3 {
		return ""
	}
	var micros int64
	for _, c := range fields[2] {
		if c < '0' || c > '9' || micros > 1<<50 {
			return ""
		}
		micros = micros*10 + int64(c-'0')
	}
	return fmt.Sprintf("[%5d.%06d] %s\n", micros/1e6, micros%1e6, words)
}
