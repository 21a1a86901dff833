package reconcile

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// exitMemory is how a worker ends that wanted too much memory.
const exitMemory = 3

// confine holds a worker to its memory. The collector works harder when most of
// it is used; then a look at the memory, 50 times a second, ends the process.
// What is allocated in one piece between two looks is the kernel's to refuse, and
// so is everything else that a build has no need of.
func confine(memory int64) {
	debug.SetMemoryLimit(memory / 10 * 8)
	debug.SetMaxStack(64 << 20) // recursion without end is an error before it is an explosion
	tick := time.NewTicker(20 * time.Millisecond)
	go func() {
		for range tick.C {
			if used() > memory {
				fmt.Fprintln(os.Stderr, "more memory than allowed")
				os.Exit(exitMemory)
			}
		}
	}()
	forbid(memory)
}

// used is the memory that the process has from the system.
func used() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
