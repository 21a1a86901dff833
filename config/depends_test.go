package config

import (
	"strings"
	"testing"
)

// C20: an app that waits for itself, or apps that wait for each other, would wait
// for ever: both are refused when the configuration is read, readyExpr or not.
func TestC20DependencyCycle(t *testing.T) {
	const head = `apiVersion: hoist/v1
kind: Config
repositories: [{name: fleet, url: "https://git.example.com/fleet", branch: main}]
apply:
`
	for apps, want := range map[string]string{
		"- {name: a, repository: fleet, dependsOn: [{name: a}]}\n":                                    `hoist.yaml:5: apply[0].dependsOn[0].name: "a" depends on itself`,
		"- {name: a, repository: fleet, dependsOn: [{name: a, namespace: hoist, readyExpr: 'true'}]}": `hoist.yaml:5: apply[0].dependsOn[0].name: "a" depends on itself`,
		"- {name: a, repository: fleet, dependsOn: [{name: b}]}\n" +
			"- {name: b, repository: fleet, dependsOn: [{name: c, readyExpr: 'true'}]}\n" +
			"- {name: c, repository: fleet, dependsOn: [{name: a}]}\n": "hoist.yaml:7: apply[2].dependsOn[0].name: the apps wait for each other: a -> b -> c -> a",
	} {
		if _, err := Parse("hoist.yaml", []byte(head+apps)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse:\n%s\n%v\nwant %s", apps, err, want)
		}
	}
}
