package setter

import (
	"strings"
	"testing"
	"time"
)

// N6: a file that is made to be slow does not hold up a pass: what one costs is
// linear in its size. Quadratic ways took minutes here.
func TestHostileFile(t *testing.T) {
	const size = 512 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for name, src := range map[string]string{
		"markers in comments":    fill(mark+"\n") + "a: b\n",
		"markers behind nothing": fill("- " + mark + "\n"),
		"markers in a text":      "a: \"" + fill(`#{$imagepolicy:`) + "\"\n",
		"markers in many texts":  "a: [" + fill(`"#{$imagepolicy:",`) + "x]\n",
		"marked keys":            fill("k: x:1 " + mark + "\n"),
		"one long line":          "a: [" + fill("x, ") + "y] " + mark,
		"deep":                   strings.Repeat("[", 9000) + "x " + mark + "\n" + strings.Repeat("]", 9000),
		"not YAML":               "\t" + fill(`{$imagepolicy:`),
		"not YAML, many lines":   "\t- {" + fill("{$imagepolicy:\n"),
	} {
		start := time.Now()
		sites := find([]byte(src))
		if len(sites) == 0 {
			t.Errorf("%s: no site", name)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("%s: %d sites took %v", name, len(sites), took)
		}
	}
}
