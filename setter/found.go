package setter

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"hoist/bump"
)

// gathering is what the directories of a pass tell.
type gathering struct {
	sites        []bump.Site
	asked, found map[int]int // files by the index of the field that names them, and those that have it
}

// found puts together what walk has read.
func (w *walker) found(paths []string) Found {
	all := gathering{asked: map[int]int{}, found: map[int]int{}}
	for i, d := range w.roots {
		d.tell(paths[i], &all)
	}
	for _, r := range w.rules.fields {
		if problem := r.missing(paths, all.asked[r.index], all.found[r.index]); problem != "" {
			all.sites = append(all.sites, bump.Site{File: r.File, Policy: r.name, Part: r.Part, Problem: problem})
		}
	}
	sortSites(all.sites)
	for _, t := range w.behind {
		if n := t.sites(); n > 0 {
			w.notices = append(w.notices, fmt.Sprintf("%s: is a symbolic link to %s, which holds markers and is not below the path: links are not followed, add %s to the paths", t.link, t.name, t.name))
		}
	}
	slices.Sort(w.notices)
	return Found{all.sites, slices.Compact(w.notices)}
}

// tell adds what d, which is called name in the tree, has to tell.
func (d *dir) tell(name string, all *gathering) {
	if !d.some {
		return
	}
	for _, f := range d.files {
		for _, s := range f.sites {
			s.File = path.Join(name, f.name)
			all.sites = append(all.sites, s)
		}
		for _, i := range f.asked {
			all.asked[i]++
		}
		for _, i := range f.found {
			all.found[i]++
		}
	}
	for _, s := range d.dirs {
		s.dir.tell(path.Join(name, s.name), all)
	}
}

// missing says that a field of the configuration is nowhere, which is more likely
// a mistake in its pattern or path than meant.
func (r fieldRule) missing(paths []string, asked, found int) string {
	switch {
	case asked == 0:
		where := ""
		if paths[0] != "." {
			where = " below " + strings.Join(paths, ", ")
		}
		return fmt.Sprintf("fields[%d] names a file that does not exist: nothing%s matches %q", r.index, where, r.File)
	case found == 0 && asked == 1:
		return fmt.Sprintf("fields[%d] names a field that does not exist: the file has no %s", r.index, r.Path)
	case found == 0:
		return fmt.Sprintf("fields[%d] names a field that does not exist: none of %d files has %s", r.index, asked, r.Path)
	}
	return ""
}
