package daemon

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"hoist/bump"
	"hoist/gitpush"
)

func TestOverlayIsTheTreeAfterThePush(t *testing.T) {
	tree := fstest.MapFS{"apps/web.yaml": file("tag: 1.0.0\n"), "apps/api.yaml": file("tag: 1\n"), "README": file("hi\n")}
	drafts := []gitpush.Draft{
		{Changes: []bump.Change{{File: "apps/web.yaml", After: []byte("tag: 1.1.0\n")}}},
		{Changes: []bump.Change{{File: "apps/web.yaml", After: []byte("tag: 1.1.0 # and more\n")}}},
	}
	o := newOverlay(tree, drafts)
	for name, want := range map[string]string{"apps/web.yaml": "tag: 1.1.0 # and more\n", "apps/api.yaml": "tag: 1\n", "README": "hi\n"} {
		if got, err := fs.ReadFile(o, name); err != nil || string(got) != want {
			t.Errorf("ReadFile(%q) = %q, %v; want %q", name, got, err, want)
		}
		if got, err := fs.ReadFile(opened{o}, name); err != nil || string(got) != want {
			t.Errorf("Open(%q) holds %q, %v; want %q", name, got, err, want)
		}
		if info, err := fs.Stat(o, name); err != nil || info.Size() != int64(len(want)) {
			t.Errorf("Stat(%q) = %v, %v; want %d bytes", name, info, err, len(want))
		}
	}
	if entries, err := fs.ReadDir(o, "apps"); err != nil || len(entries) != 2 {
		t.Errorf("ReadDir(apps) = %v, %v; want both files", entries, err)
	}
}

// opened hides all but Open: what is read through it is what Open gives.
type opened struct{ o overlay }

func (f opened) Open(name string) (fs.File, error) { return f.o.Open(name) }
