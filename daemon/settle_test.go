package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
)

// remoteInMemory takes every push and notes when.
type remoteInMemory struct {
	mu      sync.Mutex
	tree    fstest.MapFS
	head    int
	fetched int
	pushes  []time.Time
}

func (r *remoteInMemory) Fetch(context.Context) (bump.Head, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetched++
	return bump.Head{Branch: "main", Hash: fmt.Sprint(r.head)}, nil
}

func (r *remoteInMemory) Tree(bump.Head) (fs.FS, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	copied := fstest.MapFS{}
	for name, f := range r.tree {
		copied[name] = f
	}
	return copied, nil
}

func (r *remoteInMemory) push(_ context.Context, _ bump.Head, drafts []gitpush.Draft) ([]bump.Commit, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushes = append(r.pushes, time.Now())
	var commits []bump.Commit
	for _, d := range drafts {
		r.head++
		for _, c := range d.Changes {
			r.tree[c.File] = file(string(c.After))
		}
		commits = append(commits, bump.Commit{Head: bump.Head{Branch: "main", Hash: fmt.Sprint(r.head)}})
	}
	return commits, nil
}

// A burst of releases costs two pushes, and a lone release no delay.
func TestABurstIsGatheredAndALoneReleaseIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		remote := &remoteInMemory{tree: fstest.MapFS{}}
		names := []string{"a", "b", "c", "d"}
		for _, n := range names {
			remote.tree[n+".yaml"] = file("tag: 1.0.0 # {\"$imagepolicy\": \"hoist:" + n + ":tag\"}\n")
		}
		w, selections := newWalker(t, remote, names...)
		h := Open(&config.Config{}, Options{Log: zap.NewNop()})
		h.controls.take(nil, nil)
		b := &branch{
			walker: w, house: h, push: remote.push, lookUp: func(...bump.Name) {}, wakes: make(chan struct{}, 1), log: zap.NewNop(),
		}
		h.status.repositories[w.repository.Name] = &RepositoryStatus{}
		release := func(names ...string) {
			for _, n := range names {
				s := selections[bump.Name{Namespace: "hoist", Name: n}]
				h.board.mu.Lock()
				h.board.selections[s.Policy] = s
				h.board.mu.Unlock()
			}
			b.wake()
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { b.run(ctx) })
		synctest.Wait()

		began := time.Now()
		release("a")
		synctest.Wait()
		if len(remote.pushes) != 1 || remote.pushes[0] != began {
			t.Fatalf("pushes %v, want one at once, at %v", remote.pushes, began)
		}
		time.Sleep(500 * time.Millisecond)
		release("b")
		time.Sleep(500 * time.Millisecond)
		release("c", "d")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(remote.pushes) != 2 || remote.pushes[1].Sub(began) != 2*time.Second || remote.head != 4 {
			t.Errorf("pushes %v and %d commits, want a second one 2 s after the first, and 4 commits", remote.pushes, remote.head)
		}
		if remote.fetched < 4 {
			t.Errorf("%d looks at the branch, want one for each wake: what others push is not to wait", remote.fetched)
		}
		cancel()
		all.Wait()
	})
}
