package setter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"hoist/bump"
)

// key is the JSON key that makes a comment a marker.
const key = "$imagepolicy"

// stem is what the bytes of a file are searched for. The rest of the key is
// compared without regard to case, so that "$imagePolicy" is reported.
var stem = []byte("$image")

// next returns the offset of the first marker key at or behind from, or -1.
func next(src []byte, from int) int {
	for {
		i := bytes.Index(src[from:], stem)
		if i < 0 {
			return -1
		}
		from += i
		if end := from + len(key); end <= len(src) && strings.EqualFold(string(src[from:end]), key) {
			return from
		}
		from += len(stem)
	}
}

// marker is what a comment asks for.
type marker struct {
	policy bump.Name
	part   bump.Part
	match  *match // nil for the whole value
}

var (
	// markerLike tells a marker that went wrong from prose about markers.
	markerLike = regexp.MustCompile(`(?i)\{[^{}]*\$imagepolicy|\$imagepolicy["'\\]*\s*[:=]`)
	// policyIn finds the policy in a marker that is not JSON, to suggest the right spelling.
	policyIn = regexp.MustCompile(`(?i)\$imagepolicy["'\\]*\s*[:=]\s*["'\\]*([A-Za-z0-9.-]+:[A-Za-z0-9.:-]*[A-Za-z0-9])`)
	object   = regexp.MustCompile(`\{[^{}]*\}?`)
)

// parseMarker reads the text of a comment, "#" included. ok is false when the
// comment is prose that only mentions the key; problem is set when it is a
// marker that cannot be followed.
func parseMarker(comment string) (m marker, problem string, ok bool) {
	text := strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(comment), "#"))
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		if !markerLike.MatchString(text) {
			return m, "", false
		}
		return m, notJSON(text), true
	}
	value, have := fields[key]
	if !have {
		for k := range fields {
			if strings.EqualFold(k, key) {
				return m, fmt.Sprintf("marker has the key %q: write %q", k, key), true
			}
		}
		return m, "", false
	}
	for k, v := range fields {
		if _, isText := v.(string); !isText && k != key {
			return m, fmt.Sprintf("marker's %q is not a text in double quotes", k), true
		}
	}
	policy, isText := value.(string)
	if !isText {
		return m, fmt.Sprintf(`marker's policy is not a text in double quotes: write # {"%s": "namespace:name"}`, key), true
	}
	if m, problem = parsePolicy(policy); problem != "" {
		return m, problem, true
	}
	if pattern, have := fields["match"]; have {
		var err error
		if m.match, err = newMatch(pattern.(string)); err != nil {
			return m, fmt.Sprintf("marker's match %v", err), true
		}
	}
	return m, "", true
}

// parsePolicy reads "namespace:name[:part]".
func parsePolicy(s string) (marker, string) {
	p := strings.Split(s, ":")
	if strings.ContainsAny(s, " \t/") || len(p) < 2 || len(p) > 3 || p[0] == "" || p[1] == "" {
		return marker{}, fmt.Sprintf(`marker names policy %q: write "namespace:name", or "namespace:name:tag"`, s)
	}
	m := marker{policy: bump.Name{Namespace: p[0], Name: p[1]}}
	if len(p) == 2 {
		return m, ""
	}
	switch part := bump.Part(p[2]); part {
	case bump.Repo, bump.Tag, bump.Digest:
		m.part = part
		return m, ""
	}
	return m, fmt.Sprintf("marker asks for part %q of the image: known are tag, name and digest", p[2])
}

// notJSON says what is wrong with a marker that is not one JSON object, and how
// it is written.
func notJSON(text string) string {
	policy := "namespace:name"
	if p := policyIn.FindStringSubmatch(text); p != nil {
		policy = p[1]
	}
	right := fmt.Sprintf(`# {"%s": "%s"}`, key, policy)
	at := object.FindString(text)
	var fields map[string]any
	if at == "" || json.Unmarshal([]byte(at), &fields) != nil {
		return fmt.Sprintf("marker %s is not JSON: write %s", shorten(text), right)
	}
	if before, _, _ := strings.Cut(text, at); strings.Contains(before, "#") {
		return fmt.Sprintf("marker stands behind another comment or in a line that is commented out: write nothing but %s behind the value, or delete it", right)
	}
	return fmt.Sprintf("marker has other text beside it: write nothing but %s behind the value", right)
}

// shorten cuts text that is quoted in a message.
func shorten(s string) string {
	const most = 120
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
