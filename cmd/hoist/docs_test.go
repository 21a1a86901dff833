package main

import (
	"os"
	"regexp"
	"testing"

	"hoist/config"
)

// The configurations that people copy have to load.
func TestConfigurationsOfTheDocumentation(t *testing.T) {
	block := regexp.MustCompile("(?s)```yaml\n(apiVersion: .*?)```")
	for _, file := range []string{"../../README.md", "../../docs/configuration.md", "../../docs/images.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples := block.FindAllSubmatch(text, -1)
		if len(examples) == 0 {
			t.Errorf("%s shows no configuration", file)
		}
		for _, e := range examples {
			if _, err := config.Parse(file, e[1]); err != nil {
				t.Errorf("%v\nin:\n%s", err, e[1])
			}
		}
	}
	if _, err := config.Load("../../deploy/config.yaml"); err != nil {
		t.Error(err)
	}
}
