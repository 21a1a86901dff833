package gitpush

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hoist/bump"
)

// The trailers of our commits. They are the audit record: what `hoist history`
// tells comes from them alone. One commit may hold several blocks, one after the
// other; Bump-Image and Bump-Release begin a block.
const (
	trailerImage   = "Bump-Image"   // the repository, as the user spells it
	trailerFrom    = "Bump-From"    // tag, tag@digest, or the whole old value where it has no tag
	trailerTo      = "Bump-To"      // tag
	trailerHold    = "Bump-Hold"    // tag that a rollback took out, to stay out
	trailerDigest  = "Bump-Digest"  // digest of the new tag, where the policy reflects digests
	trailerPolicy  = "Bump-Policy"  // namespace:name
	trailerField   = "Bump-Field"   // file:line path, once per field
	trailerObject  = "Bump-Object"  // behind a Bump-Field: its FieldID, where the object is known
	trailerRelease = "Bump-Release" // namespace:name [tag]: what was taken out may come back; in empty commits only
	trailerReason  = "Bump-Reason"  // what a person said, for the whole commit
	trailerTrigger = "Bump-Trigger" // what asked for the commit; last line, for the whole commit
)

// Kind is what a block of trailers tells.
type Kind string

// The kinds.
const (
	Bumped     Kind = "bump"
	RolledBack Kind = "rollback" // to an older version, by the word of a person
	Released   Kind = "release"  // of a version that was held
)

// Field is a field as our trailers name it.
type Field struct {
	File string
	Line int    // 0 where the trailer does not say
	Path string // as [bump.Site.Field]
	ID   string // as [FieldID]
}

// String returns "file:line path".
func (f Field) String() string { return fmt.Sprintf("%s:%d %s", f.File, f.Line, f.Path) }

// FieldID names a field by the object that holds it and by the names on the way
// to it, so that it stays the same when lines move, when a list is put into
// another order, and when the object goes to another file.
func FieldID(s bump.Site) string {
	return oneLine(s.Object.String() + " " + cmp.Or(s.Named, s.Field))
}

// plainID is the ID of a field in a file that names no object, and the one that
// is assumed where a commit says none.
func plainID(path string) string { return FieldID(bump.Site{Field: path}) }

// block is what the trailers say about the fields that one policy moves from
// one value to another, or about a release.
type block struct {
	kind                  Kind
	policy                bump.Name
	image, from, to, hold string
	digest                string
	fields                []Field
}

// Trailers returns the last paragraph of the message of a commit that carries
// out vs, without a line break at its end.
func Trailers(vs []bump.Verdict, trigger string) string {
	return trailers(blocks(vs), "", trigger)
}

func trailers(list []*block, reason, trigger string) string {
	var b strings.Builder
	line := func(key, value string) {
		if value = oneLine(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	for _, k := range list {
		if k.kind == Released {
			line(trailerRelease, k.policy.String()+" "+k.to)
			continue
		}
		line(trailerImage, k.image)
		line(trailerFrom, k.from)
		line(trailerTo, k.to)
		line(trailerHold, k.hold)
		line(trailerDigest, k.digest)
		line(trailerPolicy, k.policy.String())
		for _, f := range k.fields {
			line(trailerField, f.String())
			if f.ID != plainID(f.Path) {
				line(trailerObject, f.ID)
			}
		}
	}
	line(trailerReason, reason)
	line(trailerTrigger, trigger)
	return strings.TrimSuffix(b.String(), "\n")
}

// blocks groups verdicts by policy and old value, in the order in which they
// come. A field that holds only a name or a digest joins the block of its policy
// that is there already, since it moves together with a tag.
func blocks(vs []bump.Verdict) []*block {
	var list []*block
	for _, tagged := range []bool{true, false} {
		for _, v := range vs {
			has := v.Site.Part == bump.Whole || v.Site.Part == bump.Tag
			if has != tagged {
				continue
			}
			from := oldTag(v)
			i := slices.IndexFunc(list, func(k *block) bool {
				return k.policy == v.Site.Policy && (k.from == from && k.to == v.Selection.Tag || !tagged)
			})
			if i < 0 {
				i = len(list)
				list = append(list, &block{kind: Bumped, policy: v.Site.Policy, image: v.Selection.Image(), from: from,
					to: v.Selection.Tag, digest: v.Selection.Digest})
			}
			list[i].fields = append(list[i].fields, Field{v.Site.File, v.Site.Line, v.Site.Field, FieldID(v.Site)})
		}
	}
	return list
}

// oldTag returns the tag (with @digest if it has one) that stands in the field,
// or the whole value where it has none.
func oldTag(v bump.Verdict) string {
	value := v.Site.Value
	if v.Site.Part != bump.Whole {
		return value
	}
	name, digest, _ := strings.Cut(value, "@")
	colon := strings.LastIndex(name, ":")
	if colon < 0 || strings.Contains(name[colon:], "/") {
		return value
	}
	if digest != "" {
		return name[colon+1:] + "@" + digest
	}
	return name[colon+1:]
}

// parseTrailers returns the blocks in a commit message, with the reason and the
// trigger; none for a commit that is not ours. Only the last paragraph counts.
func parseTrailers(message string) (list []block, reason, trigger string) {
	message = strings.TrimRight(message, "\n \t")
	i := strings.LastIndex(message, "\n\n")
	if i < 0 {
		return nil, "", "" // a subject alone has no trailers
	}
	for line := range strings.SplitSeq(message[i+2:], "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok || !strings.HasPrefix(key, "Bump-") {
			continue // "Signed-off-by", "(cherry picked from commit …)"
		}
		value = strings.TrimSpace(value)
		switch key {
		case trailerTrigger:
			trigger = value
		case trailerReason:
			reason = value
		case trailerImage:
			list = append(list, block{kind: Bumped, image: value})
		case trailerRelease:
			if b, ok := parseRelease(value); ok {
				list = append(list, b)
			}
		default:
			if len(list) > 0 && list[len(list)-1].kind != Released {
				list[len(list)-1].take(key, value)
			}
		}
	}
	return list, reason, trigger
}

func parseRelease(value string) (block, bool) {
	name, tag, _ := strings.Cut(value, " ")
	policy, err := bump.ParseName(name)
	return block{kind: Released, policy: policy, to: strings.TrimSpace(tag)}, err == nil
}

// take takes a line of the block in.
func (k *block) take(key, value string) {
	switch key {
	case trailerFrom:
		k.from = value
	case trailerTo:
		k.to = value
	case trailerHold:
		k.kind, k.hold = RolledBack, value
	case trailerDigest:
		k.digest = value
	case trailerPolicy:
		k.policy, _ = bump.ParseName(value)
	case trailerField:
		k.fields = append(k.fields, parseField(value))
	case trailerObject:
		if n := len(k.fields); n > 0 {
			k.fields[n-1].ID = value
		}
	}
}

// fieldForm is how a Bump-Field looks: "file:line path".
var fieldForm = regexp.MustCompile(`^(.*?):(\d+) (.*)$`)

func parseField(s string) Field {
	m := fieldForm.FindStringSubmatch(s)
	if m == nil {
		return Field{File: s}
	}
	line, _ := strconv.Atoi(m[2]) // digits; 0 for more than there are lines anywhere
	return Field{File: m[1], Line: line, Path: m[3], ID: plainID(m[3])}
}
