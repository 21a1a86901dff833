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
	least := int64(mostBuildMemory)
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
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
