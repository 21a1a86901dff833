package main

import (
	_ "embed"
	"strings"
	"text/template"

	"k8s.io/component-base/version"
)

// A word in the tag of one of a pod's images decides how the pod behaves, so
// that an image bump alone breaks a rollout and the next one repairs it:
//
//	crash     CrashLoopBackOff
//	pullerr   ImagePullBackOff
//	notready  runs, never ready
//	slow      ready after 5 s, or after the annotation testenv.hoist/delay
//	flap      ready, crashes 3 s later, or after that annotation
//	else      ready after 0.1 s; a Job's pod completes
//
// The annotation testenv.hoist/mode says the same without a tag.
const modeQuery = `((.metadata.annotations // {})["testenv.hoist/mode"]) // ([.spec.containers[].image | capture(":[^/]*?(?<m>crash|pullerr|notready|slow|flap)[^/]*$") | .m][0]) // "ok"`

//go:embed stages.yaml
var stagesYAML string

// stage is what differs between Stages of one shape.
type stage struct {
	Name       string
	Phase      string // the phase that it starts from
	Key        string // jq expression that chooses its pods …
	Values     string // … and the values that do
	Modes      string
	DelayMS    int
	Adjustable bool // the delay can be set by annotation
	AfterReady bool
}

// stages gives the YAML that kwok plays.
func stages(resolveImages bool) (string, error) {
	missing := []stage{{Name: "pod-pullerr", Key: modeQuery, Values: "[pullerr]"}}
	if resolveImages {
		missing = append(missing, stage{Name: "pod-image-missing", Values: "[missing]",
			Key: `(.metadata.annotations // {})["` + pullAnnotation + `"] // "?"`})
	}
	t, err := template.New("stages.yaml").Delims("[[", "]]").Parse(stagesYAML)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = t.Execute(&out, map[string]any{
		"ResolveImages":  resolveImages,
		"KubeletVersion": version.Get().GitVersion,
		"Mode":           modeQuery,
		"Ready": []stage{
			{Name: "pod-ready", Modes: "[ok, flap]", DelayMS: 100},
			{Name: "pod-ready-slow", Modes: "[slow]", DelayMS: 5000, Adjustable: true},
		},
		"Crash": []stage{
			{Name: "pod-crash", Phase: "[Pending]", Modes: "[crash]", DelayMS: 200},
			{Name: "pod-flap", Phase: "[Running]", Modes: "[flap]", DelayMS: 3000, AfterReady: true},
		},
		"Missing": missing,
	})
	return out.String(), err
}
