package main

import (
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strings"

	"hoist/bump"
	"hoist/config"
	"hoist/gitpush"
	"hoist/scanner"
	"hoist/setter"
)

// firstConfig returns the configuration for the policies of a plan, as name is
// to hold it. It asks the clone that dir lies in for URL and branch.
func firstConfig(dir, name string, p *initPlan) ([]byte, error) {
	source, folder := sourceOf(dir)
	update := path.Join(folder, p.folder())
	repository := bump.Name{Namespace: bump.DefaultNamespace, Name: nameOf(strings.TrimSuffix(path.Base(source.URL), ".git"))}
	if repository.Name == "" {
		repository.Name = "repository"
	}
	c := &config.Config{
		Repositories: []gitpush.Repository{{Name: repository, URL: source.URL, Branch: source.Branch}},
		Updates: []config.Update{{Name: repository, Repository: repository, Spec: setter.Spec{Path: update},
			Commit: gitpush.CommitSpec{Author: gitpush.Author{Name: gitpush.DefaultAuthor, Email: "hoist@example.com"}}}},
	}
	for _, n := range p.policies {
		if n.name == n.entry {
			c.Images = append(c.Images, scanner.Image{Name: n.name, Image: n.image, Insecure: onThisMachine(n.image)})
		}
		c.Policies = append(c.Policies, config.Policy{Name: n.name, Image: n.entry, Spec: n.spec})
	}
	text, err := c.Annotated(func(section string, entry bump.Name) []string {
		switch section {
		case "":
			return []string{"Made by hoist init. Look at every range before you let it run."}
		case "repositories":
			return source.notes
		case "images":
			if i, ok := c.Image(entry); ok && i.Insecure {
				return []string{"On this machine, so it is asked over plain http."}
			}
		case "updates":
			return []string{"Commits bear the author below: write your own."}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := config.Parse(name, text); err != nil {
		return nil, fmt.Errorf("the configuration that init made is refused, which is a mistake of ours: %w", err)
	}
	return text, nil
}

// initSource is the repository as the first configuration names it.
type initSource struct {
	URL, Branch string
	notes       []string
}

// sourceOf returns where the clone of dir came from, and the path of dir in it.
func sourceOf(dir string) (s initSource, folder string) {
	s.Branch = "main"
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	var origin gitpush.Origin
	if clone, err := gitpush.OpenClone(dir); err == nil {
		origin, _ = clone.Origin() // a clone that cannot be read is none
	}
	if origin.Branch != "" {
		s.Branch = origin.Branch
	}
	folder = below(origin.Root, abs)
	s.URL = origin.URL
	if s.URL == "" {
		s.URL = "https://git.example.com/org/" + nameOf(filepath.Base(abs)) + ".git"
		s.notes = append(s.notes, "Write the URL of your repository: no remote was found.")
	}
	if origin.Hidden {
		s.notes = append(s.notes, "The remote's user and password are left out.")
	}
	switch {
	case strings.HasPrefix(s.URL, "file:"):
	case strings.HasPrefix(s.URL, "http"):
		s.notes = append(s.notes, "To push, name a secretRef or a secretDir with the keys username and password.")
	default:
		s.notes = append(s.notes, "To push, name a secretRef or a secretDir with the keys identity and known_hosts.")
	}
	return s, folder
}

// below returns the path of dir in the work tree of root, "." where it has none.
func below(root, dir string) string {
	if root == "" {
		return "."
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "."
	}
	return filepath.ToSlash(rel)
}

// onThisMachine tells whether the registry of an image is on loopback.
func onThisMachine(image string) bool {
	host, _, _ := strings.Cut(image, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
