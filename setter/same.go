package setter

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// sameNode compares everything of two nodes but their values, places and children.
func sameNode(a, b *yaml.Node) error {
	if a.Kind != b.Kind || a.Tag != b.Tag || len(a.Content) != len(b.Content) {
		return fmt.Errorf("line %d: kind or tag of a value differs", a.Line)
	}
	return sameAround(a, b)
}

// sameAround compares the anchors and the comments of two nodes.
func sameAround(a, b *yaml.Node) error {
	if a.Anchor != b.Anchor {
		return fmt.Errorf("line %d: anchor differs", a.Line)
	}
	if a.HeadComment != b.HeadComment || a.LineComment != b.LineComment || a.FootComment != b.FootComment {
		return fmt.Errorf("line %d: comment differs", a.Line)
	}
	return nil
}
