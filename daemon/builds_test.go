package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"hoist/bump"
	"hoist/config"
	"hoist/reconcile"
)

// hashed is a tree of files whose hashes are known, as a commit's are.
type hashed struct{ fstest.MapFS }

func (h hashed) Stat(name string) (fs.FileInfo, error) {
	info, err := h.MapFS.Stat(name)
	if err != nil || info.IsDir() {
		return info, err
	}
	sum := sha256.Sum256(h.MapFS[name].Data)
	return hashedInfo{info, hashOfFile(hex.EncodeToString(sum[:]))}, nil
}

type hashedInfo struct {
	fs.FileInfo
	hash hashOfFile
}

func (i hashedInfo) Sys() any { return i.hash }

type hashOfFile string

func (h hashOfFile) Hash() string { return string(h) }

// Of 1,000 apps a commit to one file builds the one that reads it.
func TestOneFileCommitIsOneBuild(t *testing.T) {
	const many = 1000
	files, apps := fstest.MapFS{}, []config.App(nil)
	for i := range many {
		dir := fmt.Sprintf("apps/app-%d", i)
		files[dir+"/kustomization.yaml"] = file("resources: [c.yaml]\n")
		files[dir+"/c.yaml"] = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
		a := app(fmt.Sprintf("app-%d", i))
		a.Path, a.Wait = dir, false
		apps = append(apps, a)
	}
	e := &pretend{}
	l, _ := appliersOf(t, e, apps...)
	var mu sync.Mutex
	var built []string
	l.house.build = func(ctx context.Context, tree fs.FS, a reconcile.App) (*reconcile.Set, error) {
		mu.Lock()
		built = append(built, a.Path)
		mu.Unlock()
		return reconcile.Build(ctx, tree, a)
	}
	offer := func(hash string, tree fs.FS) {
		for _, a := range l.appliers {
			a.offer(revision{bump.Head{Repository: name("fleet"), Branch: "main", Hash: hash}, tree})
		}
	}
	applied := func() int {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.applied)
	}
	offer("1", hashed{files})
	waitFor(t, "the first commit", func() bool { return applied() == many })
	mu.Lock()
	if len(built) != many {
		t.Errorf("the first commit took %d builds, want %d", len(built), many)
	}
	built = nil
	mu.Unlock()

	// Whoever deletes something asks what the others have: that is known by now.
	l.house.census.arrived(revision{bump.Head{Repository: name("fleet"), Branch: "main", Hash: "1"}, hashed{files}})
	count := l.house.census
	count.build, count.near = l.house.build, func(_ context.Context, _ bump.Name, others []config.App) []config.App { return others }
	if all, err := count.neighbours(t.Context(), name("app-7"), bump.Head{Repository: name("fleet"), Branch: "main", Hash: "1"}); err != nil || len(all) != many-1 {
		t.Errorf("%d neighbours, %v", len(all), err)
	}

	files = maps.Clone(files)
	files["apps/app-7/c.yaml"] = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {key: new}\n")
	files["README.md"] = file("words")
	offer("2", hashed{files})
	waitFor(t, "the second commit", func() bool { return applied() == 2*many })
	files = maps.Clone(files)
	files["apps/app-8/kustomization.yml"] = file("") // looked for in vain before
	offer("3", hashed{files})
	waitFor(t, "the third commit", func() bool { return applied() == 3*many-1 }) // app-8 has two now
	mu.Lock()
	defer mu.Unlock()
	if got := fmt.Sprint(built); got != "[apps/app-7 apps/app-8]" {
		t.Errorf("a commit to a file of app-7 and one to app-8 took %d builds, want 2: %.100s", len(built), got)
	}
}

// A commit that touches no file of an app, while its watches are quiet, is
// reached without an apply; one that does is applied.
func TestUntouchedAppIsNotApplied(t *testing.T) {
	files := fstest.MapFS{
		"a/c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"), "a/kustomization.yaml": file("resources: [c.yaml]\n"),
		"b/c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n"), "b/kustomization.yaml": file("resources: [c.yaml]\n"),
	}
	first, second := app("first"), app("second", "first")
	first.Path, second.Path = "a", "b"
	e := &pretend{quiet: true}
	l, _ := appliersOf(t, e, first, second)
	offer := func(hash string) {
		for _, a := range l.appliers {
			a.offer(revision{bump.Head{Repository: name("fleet"), Branch: "main", Hash: hash}, hashed{maps.Clone(files)}})
		}
	}
	at := func(want string) {
		t.Helper()
		waitFor(t, "both at "+want, func() bool {
			for _, a := range l.house.status.snapshot().Apps {
				if !a.Ready || !strings.HasSuffix(a.Head, want) {
					return false
				}
			}
			return true
		})
	}
	offer("1")
	at("1")
	files["b/c.yaml"] = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\ndata: {key: new}\n")
	offer("2")
	at("2")
	files["README.md"] = file("words")
	offer("3")
	at("3")
	if got := e.log(); got != "first@1 second@1 second@2" {
		t.Errorf("applied %s", got)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.reached)
	if got := strings.Join(e.reached, " "); got != "first@2 first@3 second@3" {
		t.Errorf("reached without an apply: %s", got)
	}
}

// A revision that could not be applied is not reached by the next one, which
// has the same files.
func TestFailedRevisionIsNotReached(t *testing.T) {
	files := fstest.MapFS{"c.yaml": file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"), "kustomization.yaml": file("resources: [c.yaml]\n")}
	e := &pretend{quiet: true, failing: map[string]error{}}
	l, _ := appliersOf(t, e, app("shop"))
	offer := func(hash string) {
		l.appliers[0].offer(revision{bump.Head{Repository: name("fleet"), Branch: "main", Hash: hash}, hashed{maps.Clone(files)}})
	}
	offer("1")
	waitFor(t, "the first", func() bool { return l.house.status.snapshot().Apps[0].Ready })
	e.mu.Lock()
	e.failing["shop"] = errors.New("4 of 5 objects left the build")
	e.mu.Unlock()
	files["c.yaml"] = file("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: d}\n")
	offer("2")
	waitFor(t, "the second", func() bool { return e.log() == "shop@1 shop@2" })
	offer("3")
	waitFor(t, "the third", func() bool { return strings.HasSuffix(e.log(), "shop@3") })
}
