// Package programs finds the programs that the real test environment consists
// of, and builds them when they are missing.
//
// Their sources are nested Go modules beside this package, so that their
// dependencies stay out of the product's go.mod. A built program is kept in the
// user's cache folder under a hash of everything that went into it: a fresh
// clone on a kept machine builds nothing, an edited source builds anew.
//
// The trap that bites first: building the control plane takes five minutes of
// two cores when the Go build cache is cold. Call [Path] ahead of a test run,
// not under a test's time limit.
package programs

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The programs that there are.
const (
	ControlPlane = "controlplane" // etcd, kube-apiserver, controllers, scheduler, simulated nodes
	Registry     = "registry"     // the CNCF distribution registry
	Cosign       = "cosign"       // sigstore's signer of images
	SOPS         = "sops"         // encrypts files with the library of SOPS

	SealedSecrets = "sealedsecrets" // the controller that unseals, and what seals for it
)

// Names lists the programs, the slowest to build first.
func Names() []string { return []string{ControlPlane, Cosign, SealedSecrets, SOPS, Registry} }

// unused is how long a program of other sources stays in the cache.
const unused = 7 * 24 * time.Hour

// Path returns the path of the named program, building it if need be.
//
// Builds of several processes do not overlap: one builds and the others wait.
// While that lasts, progress (which may be nil) gets lines about it. The error
// of a failed build holds the compiler's words.
func Path(ctx context.Context, name string, progress io.Writer) (string, error) {
	b, err := find(name)
	if err != nil {
		return "", err
	}
	if b.isBuilt() {
		return b.output, nil
	}
	line := newProgressLine(progress, name)
	defer line.end()
	unlock, err := lock(ctx, filepath.Join(b.cache, name+".lock"), line)
	if err != nil {
		return "", fmt.Errorf("wait for the build of %s: %w", name, err)
	}
	defer unlock()
	if b.isBuilt() { // by the process that held the lock
		return b.output, nil
	}
	if err := b.build(ctx, line); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	b.removeUnused(time.Now())
	return b.output, nil
}

// build is one program to be.
type build struct {
	name   string
	source string // folder of its module
	args   []string
	cache  string // folder of all programs
	output string // CACHE/HASH/bin/NAME
}

func find(name string) (*build, error) {
	if !slices.Contains(Names(), name) {
		return nil, fmt.Errorf("unknown program %q: there are %s", name, strings.Join(Names(), ", "))
	}
	root, err := moduleRoot()
	if err != nil {
		return nil, fmt.Errorf("sources of %s: %w", name, err)
	}
	b := &build{name: name, source: filepath.Join(root, "testenv", name)}
	if b.args, err = b.flags(); err != nil {
		return nil, err
	}
	sum, err := b.hash()
	if err != nil {
		return nil, err
	}
	user, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("place for built programs: %w", err)
	}
	b.cache = filepath.Join(user, "hoist", "testenv")
	b.output = filepath.Join(b.cache, sum, "bin", name)
	return b, nil
}

// isBuilt also notes the use, which keeps the program from being removed.
func (b *build) isBuilt() bool {
	if _, err := os.Stat(b.output); err != nil {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(b.output, now, now) // a read-only cache is still a cache
	return true
}

// flags gives the arguments of go build. Leaving DWARF out saves a tenth of the
// time.
func (b *build) flags() ([]string, error) {
	link := "-s -w"
	if b.name == ControlPlane {
		version, err := b.required("k8s.io/kubernetes")
		if err != nil {
			return nil, err
		}
		v := strings.Split(strings.TrimPrefix(version, "v"), ".")
		if len(v) != 3 {
			return nil, fmt.Errorf("%s/go.mod: version %s of k8s.io/kubernetes: want three numbers", b.source, version)
		}
		const pkg = "k8s.io/component-base/version."
		link += fmt.Sprintf(" -X %sgitVersion=%s -X %sgitMajor=%s -X %sgitMinor=%s -X %sgitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=%s",
			pkg, version, pkg, v[0], pkg, v[1], pkg, version)
	}
	return []string{"-buildvcs=false", "-gcflags=all=-dwarf=false", "-ldflags=" + link}, nil
}

// required gives the version of a module in the program's go.mod.
func (b *build) required(module string) (string, error) {
	file := filepath.Join(b.source, "go.mod")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(module) + `\s+(\S+)`).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s: does not require %s", file, module)
	}
	return string(m[1]), nil
}

// hash covers the compiler, the flags and every file of the sources but tests.
func (b *build) hash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOOS, runtime.GOARCH, b.args)
	err := fs.WalkDir(os.DirFS(b.source), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(filepath.Join(b.source, path))
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("sources of %s: %w", b.name, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:10]), nil
}

// removeUnused deletes what was built from other sources, unless somebody (a
// clone of another version) has used it lately.
func (b *build) removeUnused(now time.Time) {
	others, err := filepath.Glob(filepath.Join(b.cache, "*", "bin", b.name))
	if err != nil {
		return
	}
	for _, o := range others {
		if s, err := os.Stat(o); err == nil && o != b.output && now.Sub(s.ModTime()) > unused {
			_ = os.RemoveAll(filepath.Dir(filepath.Dir(o)))
		}
	}
}

var moduleLine = regexp.MustCompile(`(?m)^module\s+hoist\s*$`)

// moduleRoot finds the folder of the module hoist above the working folder, or
// above the place where this file was compiled.
func moduleRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	for _, dir := range starts {
		for {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && moduleLine.Match(text) {
				return dir, nil
			}
			up := filepath.Dir(dir)
			if up == dir {
				break
			}
			dir = up
		}
	}
	return "", errors.New("no go.mod of module hoist above the working folder; run this from a clone of hoist")
}
