package daemon

import (
	"errors"
	"testing"

	"hoist/bump"
	"hoist/config"
)

func TestBoardKeepsTheLastGoodSelection(t *testing.T) {
	image, name := name("image"), name("web")
	b := newBoard([]config.Policy{{Name: name, Image: image, Policy: semver(t, name)}})
	down := errors.New("scan r.test/web: 503")

	b.failed(image, down)
	if s := b.current()[name]; !errors.Is(s.Err, down) {
		t.Errorf("before any list the selection says %v, want that the scan failed", s.Err)
	}
	tags := bump.Tags{Image: "r.test/web", List: []string{"1.0.0", "1.1.0"}}
	if changed, _ := b.update(image, tags); len(changed) != 1 || changed[0].Tag != "1.1.0" {
		t.Errorf("the first list changed %v, want 1.1.0", changed)
	}
	if changed, _ := b.update(image, tags); len(changed) != 0 {
		t.Errorf("the same list changed %v", changed)
	}
	b.failed(image, down)
	if s := b.current()[name]; s.Tag != "1.1.0" || s.Err != nil {
		t.Errorf("after a failed scan the selection is %q, %v; want the last good one", s.Tag, s.Err)
	}
}
