package scanner

import (
	"regexp"
	"strings"
)

// maxExpression bounds an exclusion expression, in bytes. RE2 matches in
// linear time, but compiles what it is given.
const maxExpression = 1000

// isTag tells whether s is a tag by the OCI distribution spec:
// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func isTag[T string | []byte](s T) bool {
	if len(s) == 0 || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '.', c == '-':
		default:
			return false
		}
	}
	return true
}

// exclusion says which tags do not count.
type exclusion func(tag string) bool

// newExclusion compiles the expressions of an image. No list at all means
// [isAttachment]; an empty one excludes nothing.
func newExclusion(exprs []string) (exclusion, error) {
	if exprs == nil {
		return isAttachment, nil
	}
	var all []*regexp.Regexp
	for _, expr := range exprs {
		re, err := regexp.Compile(expr)
		if err != nil {
			return nil, err
		}
		all = append(all, re)
	}
	return func(tag string) bool {
		for _, re := range all {
			if re.MatchString(tag) {
				return true
			}
		}
		return false
	}, nil
}

// isAttachment tells whether cosign left this tag beside an image: signatures
// (.sig), attestations (.att), SBOMs (.sbom), and the bare sha256-<hex> that
// cosign 3 and the referrers fallback of the OCI spec use.
func isAttachment(tag string) bool {
	if strings.HasSuffix(tag, ".sig") || strings.HasSuffix(tag, ".att") || strings.HasSuffix(tag, ".sbom") {
		return true
	}
	hex, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// keep returns the tags that are not excluded. Where none is, it returns tags
// itself and copies nothing.
func (x exclusion) keep(tags []string) []string {
	for i, tag := range tags {
		if x(tag) {
			kept := append(make([]string, 0, len(tags)-1), tags[:i]...)
			for _, tag := range tags[i+1:] {
				if !x(tag) {
					kept = append(kept, tag)
				}
			}
			return kept
		}
	}
	return tags
}
