// Command registry is the CNCF distribution registry, upstream code, with only
// the storage and auth drivers that tests use. Its usage is upstream's:
// registry serve CONFIG.
//
// Two variables that hoist/testenv/registryserver sets come on top. LISTEN_FDS=1
// is systemd's way of handing over a listener, without the process id that the
// one who starts us cannot know beforehand. HOIST_TESTENV_PARENT is the process
// to end with.
package main

import (
	"os"
	"strconv"
	"time"

	"github.com/distribution/distribution/v3/registry"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
)

func main() {
	if os.Getenv("LISTEN_FDS") != "" {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	if parent, err := strconv.Atoi(os.Getenv("HOIST_TESTENV_PARENT")); err == nil {
		go endWith(parent)
	}
	if err := registry.RootCmd.Execute(); err != nil {
		os.Exit(1)
	}
}

func endWith(parent int) {
	for range time.Tick(500 * time.Millisecond) {
		if os.Getppid() != parent {
			os.Exit(0)
		}
	}
}
