package gitpush

import (
	"fmt"
	"slices"
	"strings"

	"hoist/bump"
)

// The trailers of our commits. They are the audit record: what `hoist history`
// tells comes from them alone. One commit may hold several blocks, one after the
// other; Bump-Image begins a block.
const (
	trailerImage   = "Bump-Image"   // the repository, as the user spells it
	trailerFrom    = "Bump-From"    // tag, tag@digest, or the whole old value where it has no tag
	trailerTo      = "Bump-To"      // tag
	trailerDigest  = "Bump-Digest"  // digest of the new tag, where the policy reflects digests
	trailerPolicy  = "Bump-Policy"  // namespace:name
	trailerField   = "Bump-Field"   // file:line path, once per field
	trailerTrigger = "Bump-Trigger" // what asked for the bump; last line, for the whole commit
)

// block is what the trailers say about the fields that one policy moves from
// one value to another.
type block struct {
	policy          bump.Name
	image, from, to string
	digest          string
	fields          []string
}

// Trailers returns the last paragraph of the message of a commit that carries
// out vs, without a line break at its end.
func Trailers(vs []bump.Verdict, trigger string) string {
	var b strings.Builder
	line := func(key, value string) {
		if value = oneLine(value); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", key, value)
		}
	}
	for _, k := range blocks(vs) {
		line(trailerImage, k.image)
		line(trailerFrom, k.from)
		line(trailerTo, k.to)
		line(trailerDigest, k.digest)
		line(trailerPolicy, k.policy.String())
		for _, f := range k.fields {
			line(trailerField, f)
		}
	}
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
				return k.policy == v.Site.Policy && (k.from == from || !tagged)
			})
			if i < 0 {
				i = len(list)
				list = append(list, &block{policy: v.Site.Policy, image: v.Selection.Image(), from: from,
					to: v.Selection.Tag, digest: v.Selection.Digest})
			}
			list[i].fields = append(list[i].fields, v.Site.Position()+" "+v.Site.Field)
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

// parseTrailers returns the blocks and the trigger in a commit message; none for
// a commit that is not ours. Only the last paragraph counts.
func parseTrailers(message string) (list []block, trigger string) {
	message = strings.TrimRight(message, "\n \t")
	if i := strings.LastIndex(message, "\n\n"); i >= 0 {
		message = message[i+2:]
	} else {
		return nil, "" // a subject alone has no trailers
	}
	for line := range strings.SplitSeq(message, "\n") {
		key, value, ok := strings.Cut(line, ":")
		if !ok {
			continue // "(cherry picked from commit …)"
		}
		value = strings.TrimSpace(value)
		if key == trailerTrigger {
			trigger = value
			continue
		}
		if key == trailerImage {
			list = append(list, block{image: value})
		}
		if len(list) == 0 {
			continue
		}
		k := &list[len(list)-1]
		switch key {
		case trailerFrom:
			k.from = value
		case trailerTo:
			k.to = value
		case trailerDigest:
			k.digest = value
		case trailerPolicy:
			k.policy, _ = bump.ParseName(value)
		case trailerField:
			k.fields = append(k.fields, value)
		}
	}
	return list, trigger
}
