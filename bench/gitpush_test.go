package bench

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"hoist/bump"
	"hoist/gitpush"
	"hoist/testenv/gitserver"
)

// gitMirror returns a mirror, already fetched, of a repository with n files of
// some 500 bytes, a hundred to a directory, on git http-backend.
func gitMirror(b *testing.B, n int) (*gitpush.Mirror, func() *gitpush.Mirror) {
	b.Helper()
	s, err := gitserver.Start(gitserver.Options{Users: map[string]string{"bot": "secret"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	files := make(map[string]string, n)
	for i := range n {
		files[gitFile(i)] = gitText(i, 0)
	}
	if err := s.Init("fleet", files); err != nil {
		b.Fatal(err)
	}
	secret := func(context.Context) (bump.Secret, error) {
		return bump.Secret{"username": []byte("bot"), "password": []byte("secret")}, nil
	}
	open := func(dir string) *gitpush.Mirror {
		m, err := gitpush.Open(dir, gitpush.Repository{Name: bump.Name{Namespace: "bench", Name: "fleet"}, URL: s.URL("fleet"), Branch: "main"}, secret, nil)
		if err != nil {
			b.Fatal(err)
		}
		return m
	}
	dir := b.TempDir()
	m := open(dir)
	if _, err := m.Fetch(b.Context()); err != nil {
		b.Fatal(err)
	}
	reopen := func() *gitpush.Mirror {
		m.Close()
		m = open(dir)
		return m
	}
	b.Cleanup(func() { m.Close() })
	return m, reopen
}

func gitFile(i int) string { return fmt.Sprintf("apps/%03d/%02d.yaml", i/100, i%100) }

func gitText(i, version int) string {
	return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: team-%[2]d
spec:
  replicas: 3
  selector:
    matchLabels: {app: app-%[1]d}
  template:
    metadata:
      labels: {app: app-%[1]d}
    spec:
      containers:
        - name: main
          image: registry.example.com/team-%[2]d/app-%[1]d:1.%[3]d.0 # {"$imagepolicy": "hoist:app-%[1]d"}
          resources:
            limits: {cpu: 500m, memory: 256Mi}
`, i, i/100, version)
}

// BenchmarkPush commits and pushes 1 or 100 changed files, each a hundred files
// from the next, to repositories of 100 and 50,000 files. The branch is read back.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{100, 50_000} {
		for _, changed := range []int{1, 100} {
			b.Run(fmt.Sprintf("files=%d/changed=%d", n, changed), func(b *testing.B) {
				m, _ := gitMirror(b, n)
				head, _ := m.Head()
				version := 0
				for b.Loop() {
					version++
					draft := gitpush.Draft{Message: "bump", Author: gitpush.Author{Email: "bot@example.com"}, Time: time.Unix(1_700_000_000, 0)}
					for i := range changed {
						at := i * (n / changed)
						draft.Changes = append(draft.Changes, bump.Change{File: gitFile(at),
							Before: []byte(gitText(at, version-1)), After: []byte(gitText(at, version))})
					}
					commits, err := m.Push(b.Context(), head, []gitpush.Draft{draft})
					if err != nil || len(commits) != 1 {
						b.Fatal(len(commits), err)
					}
					head = commits[0].Head
				}
			})
		}
	}
}

// BenchmarkFetchQuiet asks a remote on which nothing happened.
func BenchmarkFetchQuiet(b *testing.B) {
	for _, n := range []int{100, 50_000} {
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			m, _ := gitMirror(b, n)
			for b.Loop() {
				if _, err := m.Fetch(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTreeCold opens a mirror that is on disk and reads every file.
func BenchmarkTreeCold(b *testing.B) {
	_, reopen := gitMirror(b, 50_000)
	b.ReportAllocs()
	for b.Loop() {
		m := reopen()
		head, _ := m.Head()
		tree, err := m.Tree(head)
		if err != nil {
			b.Fatal(err)
		}
		files := 0
		err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			_, err = fs.ReadFile(tree, p)
			return err
		})
		if err != nil || files != 50_000 {
			b.Fatal(files, err)
		}
	}
}
