package plan

import (
	"strings"

	"hoist/bump"
)

// mapping is where the parts of one image stand beside each other: newName,
// newTag and digest of an entry, repository and tag of Helm values.
type mapping struct {
	file, parent string
	object       bump.Object
	policy       bump.Name
}

func mappingOf(s bump.Site) mapping {
	parent := s.Field[:max(0, strings.LastIndexByte(s.Field, '.'))]
	return mapping{s.File, parent, s.Object, s.Policy}
}

// holdSiblings keeps the parts of an image together. Where one mapping holds a
// marked tag that is held, the marked name or digest beside it would make a
// reference that nobody chose; so would a new tag beside a digest that cannot be
// set. Beside a tag that stays, a digest that is to be given once stays too.
func holdSiblings(verdicts []bump.Verdict) {
	tags, stuckDigests := make(map[mapping]bump.Verdict), make(map[mapping]string)
	for _, v := range verdicts {
		switch {
		case v.Site.Part == bump.Tag && (v.Outcome == bump.Held || v.Selection.KeepDigest):
			tags[mappingOf(v.Site)] = v
		case v.Outcome == bump.Problem && v.Site.Part == bump.Digest && v.Site.Field != "":
			stuckDigests[mappingOf(v.Site)] = v.Reason
		}
	}
	if len(tags)+len(stuckDigests) == 0 {
		return
	}
	for i, v := range verdicts {
		if v.Outcome != bump.Bump && !v.LookUp {
			continue
		}
		key := mappingOf(v.Site)
		if tag, ok := tags[key]; ok && (v.Site.Part == bump.Repo || v.Site.Part == bump.Digest) {
			verdicts[i] = beside(v, tag)
		}
		if reason, ok := stuckDigests[key]; ok && v.Outcome == bump.Bump {
			verdicts[i] = held(v, "stays with its digest: "+reason)
		}
	}
}

// beside decides about a name or a digest from what becomes of the tag beside it.
func beside(v, tag bump.Verdict) bump.Verdict {
	now, _ := tagOf(tag.Site)
	switch {
	case v.Selection.KeepDigest && v.Site.Part == bump.Digest && now == v.Selection.Tag && v.Site.Value != "":
		v.Outcome, v.New, v.LookUp = bump.Current, "", false
		v.Reason = "keeps the digest that it was given"
	case tag.Outcome == bump.Held && !tag.LookUp:
		v = held(v, "stays with its tag: "+tag.Reason)
	}
	return v
}
