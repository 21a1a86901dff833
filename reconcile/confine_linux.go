package reconcile

import (
	"os"
	"syscall"
)

// forbid takes from this process what a build never needs. After it no file and
// no socket can be opened, so what runs in kustomize reaches neither disk nor
// network. It is called when the runtime has its own descriptors.
func forbid(memory int64) {
	// Under pressure the kernel shall end a build before it ends the daemon.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0)
	const slack = 256 << 20 // the runtime's own, and the program's data
	most := uint64(memory) + slack
	for resource, limit := range map[int]uint64{
		syscall.RLIMIT_DATA: most, syscall.RLIMIT_NOFILE: 0, syscall.RLIMIT_FSIZE: 0, syscall.RLIMIT_CORE: 0,
	} {
		// Where a sandbox does not let us, the rest still holds.
		_ = syscall.Setrlimit(resource, &syscall.Rlimit{Cur: limit, Max: limit})
	}
}
