package faults

import (
	"fmt"
	"os"
)

// descriptorsOf counts the open files of a process.
func descriptorsOf(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}
