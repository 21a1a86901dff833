package bench

import (
	"fmt"
	"strings"
	"testing"

	"hoist/config"
)

// BenchmarkConfig reads and checks a file of 1,000 images with their policies,
// 100 updates and 100 apps.
func BenchmarkConfig(b *testing.B) {
	var text strings.Builder
	text.WriteString("apiVersion: hoist/v1\nkind: Config\nrepositories:\n  - {name: fleet, url: \"https://git.example.com/acme/fleet\", branch: main}\nimages:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - name: app-%d\n    image: registry.example.com/acme/app-%d\n    interval: 1m\n    policy: {semver: {range: \">=1.0.0 <2.0.0\"}}\n", i, i)
	}
	text.WriteString("updates:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {name: u-%d, repository: fleet, path: env/%d, commit: {author: {email: hoist@example.com}}}\n", i, i)
	}
	text.WriteString("apply:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  - {name: a-%d, repository: fleet, path: env/%d, prune: true}\n", i, i)
	}
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := config.Parse("hoist.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}
