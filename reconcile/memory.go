package reconcile

import (
	"os"
	"strconv"
	"strings"
)

// mostBuildMemory is what a build may use where there is plenty.
const mostBuildMemory = 1 << 30

// DefaultBuildMemory is 1 GiB, or a third of what the container has if that is
// less: two builds and the daemon fit into it.
func DefaultBuildMemory() int64 {
	return memoryBelow("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
}

// memoryBelow reads what limits the container, in either version of cgroups.
func memoryBelow(files ...string) int64 {
	least := int64(mostBuildMemory)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && limit > 0 { // "max" is no limit
			least = min(least, limit/3)
		}
	}
	return least
}
