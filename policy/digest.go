package policy

import (
	"fmt"
	"time"

	"hoist/bump"
)

// What digestReflectionPolicy may say, in Flux's words.
const (
	DigestNever        = "Never"        // tags are set without digest
	DigestIfNotPresent = "IfNotPresent" // a tag gets the digest that it has when it is set, and keeps it
	DigestAlways       = "Always"       // the digest follows the tag
)

// DefaultDigestInterval is the time between two looks at the digest of a tag
// that is followed.
const DefaultDigestInterval = 10 * time.Minute

// digests says whether the digest of the selected tag is part of the selection.
type digests struct {
	policy   string
	interval time.Duration
}

// DigestReflection returns DigestNever, DigestIfNotPresent or DigestAlways, and
// for the last one how often the digest is to be looked up, else zero.
func (p *Policy) DigestReflection() (policy string, interval time.Duration) {
	return p.digests.policy, p.digests.interval
}

// compileDigests returns the digest reflection of s.
func (s Spec) compileDigests() (digests, []bump.Fault) {
	d := digests{policy: s.DigestReflectionPolicy}
	interval := time.Duration(s.DigestInterval)
	switch d.policy {
	case "":
		d.policy = DigestNever
	case DigestNever, DigestIfNotPresent:
	case DigestAlways:
		d.interval = s.DigestInterval.Or(DefaultDigestInterval)
		if interval != 0 && interval < time.Second {
			return d, faultAt("digestInterval", fmt.Sprintf("%q is too short: the least is 1s", interval))
		}
		return d, nil
	default:
		return d, faultAt("digestReflectionPolicy", fmt.Sprintf("%q is not known: expected Never, IfNotPresent or Always", d.policy))
	}
	if interval != 0 {
		return d, faultAt("digestInterval", "has no use unless digestReflectionPolicy is Always")
	}
	return d, nil
}
