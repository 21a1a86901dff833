package setter

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

// oddity is an entry of a directory that is neither a file nor a directory of the tree.
type oddity struct {
	name string
	kind odd
}

type odd byte

const (
	plain     odd = iota // nothing odd
	link                 // a symbolic link
	submodule            // another repository
	special              // a device, a socket, a pipe
)

// target is what a symbolic link leads to outside of the paths.
type target struct {
	link, name string
	dir        *dir
}

func (t *target) sites() int {
	all := gathering{asked: map[int]int{}, found: map[int]int{}}
	t.dir.tell(t.name, &all)
	return len(all.sites)
}

// lookBehind notes the oddities below the paths. What a symbolic link leads to is
// looked at only to tell whether there are markers that nobody sets.
func (w *walker) lookBehind(paths []string) error {
	for i, d := range w.roots {
		if err := w.oddities(d, paths[i], paths); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) oddities(d *dir, name string, paths []string) error {
	if !d.odds {
		return nil
	}
	for _, o := range d.odd {
		full := path.Join(name, o.name)
		switch o.kind {
		case submodule:
			w.notices = append(w.notices, full+": is a submodule, which is not entered: markers in it do not count")
		case special:
			w.notices = append(w.notices, full+": is not a regular file and is not read: markers in it do not count")
		default:
			if err := w.follow(full, paths); err != nil {
				return err
			}
		}
	}
	for _, s := range d.dirs {
		if err := w.oddities(s.dir, path.Join(name, s.name), paths); err != nil {
			return err
		}
	}
	return nil
}

// mostLinks is how many links may lead to the next.
const mostLinks = 8

// follow looks at where the symbolic link called name leads.
func (w *walker) follow(name string, paths []string) error {
	at := name
	for range mostLinks {
		to, err := fs.ReadLink(w.tree, at)
		if err != nil {
			to = "/" // as good as outside
		}
		if at = path.Join(path.Dir(at), to); path.IsAbs(to) || !fs.ValidPath(at) {
			if kindOf(path.Base(name)) != ignored {
				w.notices = append(w.notices, name+": is a symbolic link that leads out of what is looked at, and is not followed: markers behind it do not count")
			}
			return nil
		}
		if slices.ContainsFunc(paths, func(p string) bool { return below(at, p) }) || !w.straight(at) {
			return nil // its own place counts, or it leads nowhere
		}
		fi, err := fs.Lstat(w.tree, at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("look for marked fields: %w", err)
		case fi.Mode()&fs.ModeSymlink != 0:
			continue
		case fi.Mode()&fs.ModeIrregular != 0, !fi.IsDir() && (!fi.Mode().IsRegular() || kindOf(path.Base(name)) == ignored):
			return nil
		}
		d, err := w.root(at)
		if err == nil {
			w.behind = append(w.behind, &target{name, at, d})
		}
		return err
	}
	return nil
}

// straight reports whether no symbolic link stands on the way to name.
func (w *walker) straight(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if fi, err := fs.Lstat(w.tree, dir); err != nil || !fi.IsDir() {
			return false
		}
	}
	return true
}
