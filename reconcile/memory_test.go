package reconcile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBuildMemoryFitsIntoTheContainer(t *testing.T) {
	for text, want := range map[string]int64{
		"max\n":                 1 << 30,
		"9223372036854771712\n": 1 << 30, // how the first version says "max"
		"536870912\n":           536870912 / 3,
		"":                      1 << 30,
	} {
		file := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := memoryBelow(filepath.Join(t.TempDir(), "nothing"), file); got != want {
			t.Errorf("limit %q: %d, want %d", text, got, want)
		}
	}
}
