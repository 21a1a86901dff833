package policy

import (
	"testing"

	"hoist/bump"
)

// What looks newer is not replaced by something older because of its spelling (N9).
func TestCompareReadsTheCurrentTagAsPeopleDo(t *testing.T) {
	p, err := New(bump.Name{Namespace: "hoist", Name: "web"}, Spec{Policy: Choice{SemVer: &SemVer{Range: ">=1.0.0 <1.26.0"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		now string
		c   int
		ok  bool
	}{
		{"1.27", -1, true}, {"v1.27", -1, true}, {"2", -1, true}, {"1.27-alpine", -1, true}, {"01.27.0", -1, true},
		{"1.27.0.1", -1, true}, {"20260101", -1, true}, {"99999999999999999999999.1", -1, true},
		{"1.25", 0, false}, {"1.25.5.1", 0, false}, {"1", 0, false}, // not newer by its numbers: may be replaced
		{"latest", 0, false}, {"main", 0, false}, {"7f3a9c2", 0, false}, {"v", 0, false}, {"", 0, false},
	} {
		if c, ok := p.Compare("1.25.5", tc.now); c != tc.c || ok != tc.ok {
			t.Errorf("Compare(1.25.5, %q) = %d %t, want %d %t", tc.now, c, ok, tc.c, tc.ok)
		}
	}
}
