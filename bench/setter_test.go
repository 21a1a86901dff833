package bench

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"hoist/bump"
	"hoist/setter"
)

// setterFile is a Deployment of about forty lines, marked or not.
func setterFile(i int, tag string, marked bool) []byte {
	mark := ""
	if marked {
		mark = fmt.Sprintf(` # {"$imagepolicy": "flux-system:app-%d"}`, i)
	}
	return fmt.Appendf(nil, `apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%[1]d
  namespace: team-%[4]d
  labels:
    app.kubernetes.io/name: app-%[1]d
    app.kubernetes.io/part-of: bench
spec:
  replicas: 2
  selector:
    matchLabels:
      app.kubernetes.io/name: app-%[1]d
  template:
    metadata:
      labels:
        app.kubernetes.io/name: app-%[1]d
    spec:
      # the service account has no token
      automountServiceAccountToken: false
      containers:
        - name: app
          image: registry.example.com/org/app-%[1]d:%[2]s%[3]s
          ports:
            - name: http
              containerPort: 8080
          env:
            - name: LOG_LEVEL
              value: info
            - name: REGION
              value: us-east-1
          resources:
            requests: {cpu: 100m, memory: 128Mi}
            limits: {memory: 256Mi}
          readinessProbe:
            httpGet:
              path: /healthz
              port: http
          securityContext:
            readOnlyRootFilesystem: true
`, i, tag, mark, i%100)
}

// setterTree writes n files, of which every each-th is marked, a hundred to a folder.
func setterTree(b *testing.B, n, each int) string {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		name := filepath.Join(dir, "apps", fmt.Sprintf("team-%d", i/1000), fmt.Sprintf("group-%d", i/100), fmt.Sprintf("app-%d.yaml", i))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(name, setterFile(i, "1.0.0", i%each == 0), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// BenchmarkSetterSites is a first pass over a plain directory (page cache warm).
func BenchmarkSetterSites(b *testing.B) {
	for _, n := range []int{10_000, 50_000} {
		for _, each := range []int{100, 10} {
			b.Run(fmt.Sprintf("files=%d/marked=%d%%", n, 100/each), func(b *testing.B) {
				dir := setter.Dir(setterTree(b, n, each))
				b.ReportAllocs()
				for b.Loop() {
					if sites := mustSites(b, setter.NewCache(), dir); len(sites) != n/each {
						b.Fatalf("%d sites, want %d", len(sites), n/each)
					}
				}
			})
		}
	}
}

// BenchmarkSetterEdit finds all marked fields of a plain directory and works out
// the new bytes of every marked file; nothing is written.
func BenchmarkSetterEdit(b *testing.B) {
	for _, each := range []int{100, 10} {
		b.Run(fmt.Sprintf("files=10000/marked=%d%%", 100/each), func(b *testing.B) {
			dir := setter.Dir(setterTree(b, 10_000, each))
			for b.Loop() {
				for _, s := range mustSites(b, setter.NewCache(), dir) {
					before, err := fs.ReadFile(dir, s.File)
					if err != nil {
						b.Fatal(err)
					}
					v := bump.Verdict{Site: s, Outcome: bump.Bump, New: strings.Replace(s.Value, "1.0.0", "1.0.1", 1)}
					if _, err := setter.Edit(before, []bump.Verdict{v}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSetterAgain is a later pass over a tree that knows its hashes, as a
// Git tree does: quiet, and after one file has changed.
func BenchmarkSetterAgain(b *testing.B) {
	for _, n := range []int{10_000, 50_000} {
		files := fstest.MapFS{}
		for i := range n {
			files[fmt.Sprintf("apps/team-%d/group-%d/app-%d.yaml", i/1000, i/100, i)] = &fstest.MapFile{Data: setterFile(i, "1.0.0", i%100 == 0)}
		}
		b.Run(fmt.Sprintf("files=%d/quiet", n), func(b *testing.B) {
			cache, tree := setter.NewCache(), newHashTree(files)
			mustSites(b, cache, tree)
			b.ReportAllocs()
			for b.Loop() {
				mustSites(b, cache, tree)
			}
		})
		b.Run(fmt.Sprintf("files=%d/one-changed", n), func(b *testing.B) {
			cache := setter.NewCache()
			tree := newHashTree(files)
			mustSites(b, cache, tree)
			var spent time.Duration
			rounds := 0
			for b.Loop() {
				rounds++
				tree = tree.with("apps/team-1/group-12/app-1200.yaml", setterFile(1200, fmt.Sprintf("1.0.%d", rounds), true))
				start := time.Now()
				mustSites(b, cache, tree)
				spent += time.Since(start)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(rounds), "ns/pass")
		})
	}
}

func mustSites(b *testing.B, c *setter.Cache, tree fs.FS) []bump.Site {
	sites, err := c.Sites(b.Context(), tree, setter.Options{})
	if err != nil {
		b.Fatal(err)
	}
	return sites
}

// hashTree is a tree that knows the hash of each file and directory. Changing
// one file makes a new tree that shares the rest, as a commit does.
type hashTree struct {
	files fstest.MapFS
	list  map[string][]fs.DirEntry // by directory
	hash  map[string]string        // by path
}

func newHashTree(files fstest.MapFS) *hashTree {
	t := &hashTree{files: files, list: map[string][]fs.DirEntry{}, hash: map[string]string{}}
	t.add(".")
	return t
}

func (t *hashTree) add(dir string) {
	list, err := t.files.ReadDir(dir)
	if err != nil {
		panic(err)
	}
	for _, e := range list {
		name := path.Join(dir, e.Name())
		if e.IsDir() {
			t.add(name)
		} else {
			t.hash[name] = sum(t.files[name].Data)
		}
		t.list[dir] = append(t.list[dir], hashEntry{e, t, name})
	}
	t.hash[dir] = t.sumDir(dir)
}

func (t *hashTree) sumDir(dir string) string {
	var all strings.Builder
	for _, e := range t.list[dir] {
		all.WriteString(e.Name() + t.hash[path.Join(dir, e.Name())])
	}
	return sum([]byte(all.String()))
}

// with returns a tree in which one file is another.
func (t *hashTree) with(name string, data []byte) *hashTree {
	u := &hashTree{files: maps.Clone(t.files), list: map[string][]fs.DirEntry{}, hash: maps.Clone(t.hash)}
	for dir, list := range t.list {
		for _, e := range list {
			u.list[dir] = append(u.list[dir], hashEntry{e.(hashEntry).DirEntry, u, e.(hashEntry).path})
		}
	}
	u.files[name] = &fstest.MapFile{Data: data}
	u.hash[name] = sum(data)
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		u.hash[dir] = u.sumDir(dir)
		if dir == "." {
			return u
		}
	}
}

func sum(b []byte) string {
	h := sha1.Sum(b)
	return hex.EncodeToString(h[:])
}

func (t *hashTree) Open(name string) (fs.File, error) { return t.files.Open(name) }

func (t *hashTree) ReadDir(name string) ([]fs.DirEntry, error) { return t.list[name], nil }

func (t *hashTree) Stat(name string) (fs.FileInfo, error) {
	if _, dir := t.list[name]; dir {
		return hashInfo{dirInfo{path.Base(name)}, t.hash[name]}, nil
	}
	fi, err := t.files.Stat(name)
	return hashInfo{fi, t.hash[name]}, err
}

type hashEntry struct {
	fs.DirEntry
	tree *hashTree
	path string
}

func (e hashEntry) Info() (fs.FileInfo, error) {
	fi, err := e.DirEntry.Info()
	return hashInfo{fi, e.tree.hash[e.path]}, err
}

type hashInfo struct {
	fs.FileInfo
	hash string
}

func (i hashInfo) Sys() any { return hashSum(i.hash) }

type hashSum string

func (s hashSum) Hash() string { return string(s) }

type dirInfo struct{ name string }

func (i dirInfo) Name() string       { return i.name }
func (i dirInfo) Size() int64        { return 0 }
func (i dirInfo) Mode() fs.FileMode  { return fs.ModeDir | 0o755 }
func (i dirInfo) ModTime() time.Time { return time.Time{} }
func (i dirInfo) IsDir() bool        { return true }
func (i dirInfo) Sys() any           { return nil }
