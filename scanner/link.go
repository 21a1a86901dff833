package scanner

import "strings"

// nextLink returns the target of rel="next" in Link headers (RFC 8288).
func nextLink(headers []string) (string, bool) {
	for _, header := range headers {
		for rest := header; ; {
			start := strings.IndexByte(rest, '<')
			if start < 0 {
				break
			}
			end := strings.IndexByte(rest[start:], '>')
			if end < 0 {
				break
			}
			target := rest[start+1 : start+end]
			rest = rest[start+end+1:]
			params := rest
			if comma := strings.Index(rest, ",<"); comma >= 0 {
				params = rest[:comma]
			} else if comma := strings.Index(rest, ", <"); comma >= 0 {
				params = rest[:comma]
			}
			if relIsNext(params) {
				return target, true
			}
		}
	}
	return "", false
}

func relIsNext(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		key, value, _ := strings.Cut(param, "=")
		if !strings.EqualFold(strings.TrimSpace(key), "rel") {
			continue
		}
		for rel := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `",`)) {
			if strings.EqualFold(rel, "next") {
				return true
			}
		}
	}
	return false
}
