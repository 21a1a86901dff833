package programs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// tiny is a program of a few lines, built the way the real ones are.
func tiny(t *testing.T, source string) *build {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "src", "go.mod"), "module tiny\n\ngo 1.26.0\n")
	write(t, filepath.Join(dir, "src", "main.go"), source)
	b := &build{name: "tiny", source: filepath.Join(dir, "src"), cache: filepath.Join(dir, "cache")}
	var err error
	if b.args, err = b.flags(); err != nil {
		t.Fatal(err)
	}
	sum, err := b.hash()
	if err != nil {
		t.Fatal(err)
	}
	b.output = filepath.Join(b.cache, sum, "bin", "tiny")
	return b
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBuildLeavesAWholeProgramAndNothingElse(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	b := tiny(t, "package main\n\nfunc main() { println(\"hello\") }\n")
	if err := b.build(t.Context(), newProgressLine(nil, "tiny")); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(b.output).CombinedOutput()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("the program said %q, %v", out, err)
	}
	files, err := os.ReadDir(filepath.Dir(b.output))
	if err != nil || len(files) != 1 {
		t.Errorf("the output folder holds %v, %v; want the program alone", files, err)
	}
}

func TestBuildErrorHoldsTheCompilersWords(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	b := tiny(t, "package main\n\nfunc main() { undefinedThing() }\n")
	err := b.build(t.Context(), newProgressLine(nil, "tiny"))
	if err == nil || !strings.Contains(err.Error(), "main.go:3:15: undefined: undefinedThing") {
		t.Errorf("build: %v", err)
	}
	if b.isBuilt() {
		t.Error("a failed build left a program")
	}
}

func TestGoBuildIsGoBuild(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles")
	}
	b := tiny(t, "package main\n\nvar version string\n\nfunc main() { println(version) }\n")
	t.Chdir(b.source)
	if err := GoBuild(t.Context(), "tiny", []string{"-ldflags", "-X main.version=1", "-o", "out/tiny", "."}, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("out/tiny").CombinedOutput(); err != nil || string(out) != "1\n" {
		t.Errorf("the program said %q, %v", out, err)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	b := tiny(t, "package main\n\nfunc main() {}\n")
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stop")
	cancel(stop)
	if err := b.build(ctx, newProgressLine(nil, "tiny")); !errors.Is(err, stop) {
		t.Errorf("build = %v, want %v", err, stop)
	}
}

func TestHashFollowsTheSources(t *testing.T) {
	b := tiny(t, "package main\n\nfunc main() {}\n")
	before, err := b.hash()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.source, "main_test.go"), "package main\n")
	if again, _ := b.hash(); again != before {
		t.Error("a test file changed the hash")
	}
	write(t, filepath.Join(b.source, "go.sum"), "x\n")
	if after, _ := b.hash(); after == before {
		t.Error("go.sum did not change the hash")
	}
}

func TestControlPlaneCarriesTheVersionOfItsModule(t *testing.T) {
	b, err := find(ControlPlane)
	if err != nil {
		t.Fatal(err)
	}
	version, err := b.required("k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if flags := strings.Join(b.args, " "); !strings.Contains(flags, "gitVersion="+version+" ") {
		t.Errorf("flags %s: no gitVersion=%s", flags, version)
	}
}

func TestUnknownProgram(t *testing.T) {
	_, err := Path(t.Context(), "kublet", nil)
	if want := `unknown program "kublet": there are controlplane, cosign, sealedsecrets, sops, registry`; err == nil || err.Error() != want {
		t.Errorf("Path = %v, want %s", err, want)
	}
}

func TestSourcesAreFoundFromAnotherFolder(t *testing.T) {
	want, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // with a file name from the compiler, as in a test that changed its folder
	if got, err := moduleRoot(); err != nil || got != want {
		t.Errorf("moduleRoot() = %s, %v, want %s", got, err, want)
	}
	t.Chdir(filepath.Join(want, "testenv", ControlPlane)) // a nested module is not the root
	if got, err := moduleRoot(); err != nil || got != want {
		t.Errorf("moduleRoot() = %s, %v, want %s", got, err, want)
	}
}

func TestLockHoldsOthersBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	line := newProgressLine(nil, "x")
	unlock, err := lock(t.Context(), path, line)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if _, err := lock(short, path, line); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second lock = %v, want it to wait", err)
	}
	var inside, most int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			unlock, err := lock(t.Context(), path, line)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			inside++
			most = max(most, inside)
			mu.Unlock()
			mu.Lock()
			inside--
			mu.Unlock()
			unlock()
		})
	}
	unlock()
	all.Wait()
	if most != 1 {
		t.Errorf("%d held the lock at once", most)
	}
}

func TestRemoveUnusedKeepsWhatIsInUse(t *testing.T) {
	now := time.Now()
	b := &build{name: "tiny", cache: t.TempDir()}
	place := func(hash, name string, age time.Duration) string {
		p := filepath.Join(b.cache, hash, "bin", name)
		write(t, p, "")
		if err := os.Chtimes(p, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	b.output = place("mine", "tiny", 2*unused)
	stale, young, other := place("stale", "tiny", 2*unused), place("young", "tiny", unused/2), place("other", "otherprogram", 2*unused)
	b.removeUnused(now)
	for path, want := range map[string]bool{b.output: true, stale: false, young: true, other: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

func TestProgressOffTerminal(t *testing.T) {
	var out bytes.Buffer
	l := newProgressLine(&out, "tiny")
	said := &compilerOutput{line: l}
	for _, piece := range []string{"go: downloading a v1.0.0\nexample.com/x", "/y\nfmt\n# tiny\n./main.go:1:1: bad\n"} {
		_, _ = said.Write([]byte(piece))
	}
	l.show()
	l.show() // too early for a second line
	l.end()
	if got, want := out.String(), "building tiny: 0s, 2 packages compiled, 1 modules downloaded\nbuilding tiny: ended after 0s\n"; got != want {
		t.Errorf("progress %q, want %q", got, want)
	}
	if got, want := said.words.String(), "# tiny\n./main.go:1:1: bad\n"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
}
