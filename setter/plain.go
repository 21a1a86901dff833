package setter

import (
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// notText are the plain scalars that some YAML 1.1 or 1.2 reader takes for
// something else than a string: yaml.org/type for 1.1 (with the underscores and
// sexagesimals that PyYAML and Ruby still read) and the core schema of 1.2.
var notText = regexp.MustCompile(`(?i)^(?:` + strings.Join([]string{
	`~|null|y|n|yes|no|on|off|true|false|=|<<`,
	`[-+]?(?:0b[01_]+|0o?[0-9_]+|0x[0-9a-f_]+|[0-9][0-9_]*)`,      // integers; 0o14 in 1.2, 014 in 1.1
	`[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?`,            // 190:20:30
	`[-+]?(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:e[-+]?\d+)?`, // 1.10, 1., .5, 12e3
	`[-+]?\.inf|\.nan|\.`,
	`\d{4}-\d\d?-\d\d?(?:(?:t|[ \t]+)[0-9:.]+.*)?`, // dates and timestamps
}, "|") + `)$`)

// plainSafe reports whether before+v+after may stand without quotes: every reader
// takes it for the string that it is, in block and in flow context. v is made of
// the characters of an image reference; what is around it stood without quotes.
func plainSafe(before, v, after string) bool {
	full := before + v + after
	if full == "" || strings.ContainsAny(v, "[]") || before == "" && strings.ContainsRune("@-.:", rune(full[0])) || strings.HasSuffix(full, ":") {
		return false
	}
	if notText.MatchString(full) {
		return false
	}
	n := yaml.Node{Kind: yaml.ScalarNode, Value: full}
	return n.ShortTag() == "!!str"
}
