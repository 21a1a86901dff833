package gitpush

import (
	"fmt"
	"strings"
	"unicode"
)

// checkPath refuses names that no tree should get from us: those that leave the
// tree, those that some file system takes for .git, and those that cannot be
// shown on one line. They follow the rules of Git's verify_path with
// core.protectNTFS and core.protectHFS on.
func checkPath(p string) error {
	bad := func(why string) error { return fmt.Errorf("file name %q: %s", p, why) }
	if p == "" {
		return bad("is empty")
	}
	if strings.ContainsFunc(p, unicode.IsControl) {
		return bad("holds a control character")
	}
	if strings.Contains(p, `\`) {
		return bad("holds a backslash")
	}
	for part := range strings.SplitSeq(p, "/") {
		switch {
		case part == "":
			return bad("has an empty element")
		case part == "." || part == "..":
			return bad("leaves the tree")
		case isDotGit(part):
			return bad("is a name of .git")
		}
	}
	return nil
}

// isDotGit reports whether some file system takes name for .git: in any case,
// with the characters that HFS+ ignores, with the trailing dots, spaces and
// streams that NTFS drops, or as its short name git~1.
func isDotGit(name string) bool {
	name = strings.Map(func(r rune) rune {
		if ignoredByHFS(r) {
			return -1
		}
		return unicode.ToLower(r)
	}, name)
	name, _, _ = strings.Cut(name, ":")
	name = strings.TrimRight(name, ". ")
	return name == ".git" || name == "git~1"
}

// ignoredByHFS lists what HFS+ leaves out when it compares names.
func ignoredByHFS(r rune) bool {
	switch {
	case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
		return true
	}
	return false
}
