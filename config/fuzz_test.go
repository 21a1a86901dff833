package config

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// onlyUnused says whether there is nothing but images that no policy uses.
func (c *Config) onlyUnused() bool {
	return len(c.Repositories)+len(c.Policies)+len(c.Updates)+len(c.Apply)+len(c.Webhooks) == 0
}

// FuzzParse promises: no panic, either a configuration or faults but never
// both, every fault inside the file, the same answer twice, and the normalised
// form of what was taken reads back as the same.
func FuzzParse(f *testing.F) {
	for _, file := range glob(f, goodDir, "*.yaml") {
		f.Add(read(f, file))
	}
	for _, file := range glob(f, badDir, "*.txtar") {
		for _, part := range txtar.Parse(read(f, filepath.Clean(file))).Files {
			f.Add(part.Data)
		}
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("<<: *x"))
	f.Add([]byte("apiVersion: hoist/v1\nkind: Config\nimages: [{<<: [{}, 1], ? [a] : b}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("x.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("Parse = %v, %v", c, err)
		}
		_, again := Parse("x.yaml", data)
		if err != nil {
			if again == nil || again.Error() != err.Error() {
				t.Fatalf("twice differs:\n%v\n%v", err, again)
			}
			var faults Faults
			if !errors.As(err, &faults) || len(faults) == 0 {
				t.Fatalf("%T %v is no list of faults", err, err)
			}
			lines := bytes.Count(data, []byte("\n")) + 1
			for _, fault := range faults {
				if fault.File != "x.yaml" || fault.Line < 0 || fault.Line > lines || fault.Message == "" || (fault.Column > 0) != (fault.Line > 0) {
					t.Fatalf("%+v in a file of %d lines", fault, lines)
				}
			}
			return
		}
		view, err := c.View()
		if err != nil {
			t.Fatal(err)
		}
		second, err := Parse("view", view)
		if err != nil {
			if c.onlyUnused() {
				return // and so the view has no entries
			}
			t.Fatalf("its view is refused: %v\n%s", err, view)
		}
		sameModel(t, second, c)
	})
}
