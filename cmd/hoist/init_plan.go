package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/config"
	"hoist/policy"
	"hoist/scanner"
	"hoist/setter"
)

// initPlan is what init would do with the images of a repository.
type initPlan struct {
	rows     []*initRow
	policies []initPolicy
	marked   int // images that had their marker before
}

// initRow is one image without a marker.
type initRow struct {
	image  setter.Image
	policy bump.Name // that its marker would name; zero where it is left alone
	short  string    // what that policy does
	why    string    // it is left alone, and what to do
	byHand string    // why the marker cannot be written, and what to write instead
}

// initPolicy is a policy that the first configuration gets.
type initPolicy struct {
	name  bump.Name
	image string    // registry and repository
	entry bump.Name // of the image whose tags it chooses from; its own name for the first of an image
	spec  policy.Spec
}

// proposeFor decides for each image by itself and the others of its name. sites
// are the markers that are there already and there the configuration, if there is
// one: their policies are made use of, and keep their names.
func proposeFor(images []setter.Image, sites []bump.Site, there *config.Config) *initPlan {
	p := &initPlan{}
	names := newNames(sites, there)
	replaced := make(map[string]string) // images whose tag a kustomize entry sets, and where
	for _, i := range images {
		if i.Replaces != "" && i.Tag != "" && replaced[i.Replaces] == "" {
			replaced[i.Replaces] = i.Position()
		}
	}
	var order []string
	groups := make(map[string]*imageGroup)
	for _, i := range images {
		g := groups[i.Name]
		if g == nil {
			g = &imageGroup{policies: make(map[string]bump.Name)}
			groups[i.Name] = g
			order = append(order, i.Name)
		}
		if i.Marked {
			p.marked++
			g.policies[i.Tag] = i.Policy
			g.tags = append(g.tags, i.Tag)
			continue
		}
		row := &initRow{image: i, why: leftAlone(i, replaced)}
		p.rows = append(p.rows, row)
		if row.why == "" {
			g.rows = append(g.rows, row)
			g.tags = append(g.tags, i.Tag)
		}
	}
	for _, name := range order {
		if g := groups[name]; len(g.rows) > 0 {
			p.policies = append(p.policies, g.propose(name, names)...)
		}
	}
	return p
}

// leftAlone says why an image gets no marker whatever its tag looks like.
func leftAlone(i setter.Image, replaced map[string]string) string {
	switch {
	case i.Digest != "":
		return "pinned by a digest, which init does not take away: write a tag alone, then run init again"
	case i.Problem != "":
		return i.Problem
	case i.Tag == "" && i.Part == bump.Tag:
		return "empty, so the chart chooses: write a version, then run init again"
	case i.Tag == "" && replaced[i.Name] != "":
		return "its tag is set at " + replaced[i.Name]
	case i.Tag == "":
		return "no tag means latest: write a version, then run init again"
	}
	for _, f := range (scanner.Image{Image: i.Name}).Check() {
		return f.Message
	}
	return ""
}

// imageGroup is everything that names one image.
type imageGroup struct {
	rows     []*initRow
	tags     []string
	policies map[string]bump.Name // of the markers that are there, by the tag of their field
}

// propose gives each row a policy, or a reason why not, and returns the policies
// that are new.
func (g *imageGroup) propose(image string, names *names) (fresh []initPolicy) {
	proposals, left := policy.Propose(g.tags)
	chosen := make(map[string]bump.Name)
	short := make(map[string]string)
	for _, proposal := range proposals {
		name, known := g.known(proposal.Tags)
		if !known {
			name, known = names.configured(image, proposal.Tags)
		}
		if !known && g.wants(proposal.Tags) {
			name = names.choose(image, proposal.Word, len(fresh) > 0)
			p := initPolicy{name: name, image: image, entry: name, spec: proposal.Spec}
			if len(fresh) > 0 {
				p.entry = fresh[0].name
			}
			fresh = append(fresh, p)
		}
		for _, tag := range proposal.Tags {
			chosen[tag], short[tag] = name, proposal.Short
			if known {
				short[tag] = "as it is there"
			}
		}
	}
	for _, row := range g.rows {
		tag := row.image.Tag
		row.policy, row.short, row.why = chosen[tag], short[tag], left[tag]
	}
	return fresh
}

// known returns the policy of a marker at a field with one of the tags.
func (g *imageGroup) known(tags []string) (bump.Name, bool) {
	for _, tag := range tags {
		if name, ok := g.policies[tag]; ok {
			return name, true
		}
	}
	return bump.Name{}, false
}

// wants tells whether a field without a marker has one of the tags.
func (g *imageGroup) wants(tags []string) bool {
	return slices.ContainsFunc(g.rows, func(r *initRow) bool { return slices.Contains(tags, r.image.Tag) })
}

// names gives policies names that no other has.
type names struct {
	taken map[bump.Name]bool
	there *config.Config
}

func newNames(sites []bump.Site, there *config.Config) *names {
	n := &names{taken: make(map[bump.Name]bool), there: there}
	for _, s := range sites {
		n.taken[s.Policy] = true
	}
	for _, p := range there.Policies {
		n.taken[p.Name] = true
	}
	return n
}

// configured returns a policy of the configuration that allows all of the tags.
func (n *names) configured(image string, tags []string) (bump.Name, bool) {
	for _, p := range n.there.Policies {
		if i, _ := n.there.Image(p.Image); i.Image != image {
			continue
		}
		if !slices.ContainsFunc(tags, func(tag string) bool { return p.Policy.Select(bump.Tags{List: []string{tag}}).Err != nil }) {
			return p.Name, true
		}
	}
	return bump.Name{}, false
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// nameOf makes words fit to be a name, or part of one.
func nameOf(words ...string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(strings.Join(words, "-")), "-"), "-")
	const most = 56 // of 63; what makes it unique comes behind
	return strings.TrimRight(name[:min(len(name), most)], "-")
}

// choose names a policy after the last part of its image. word is added for the
// second and every further one of an image; more of the path, and then a number,
// where the name is taken.
func (n *names) choose(image, word string, further bool) bump.Name {
	parts := strings.Split(image, "/")
	last := parts[len(parts)-1]
	var tries []string
	if !further {
		tries = append(tries, nameOf(last))
		if len(parts) > 1 {
			tries = append(tries, nameOf(parts[len(parts)-2], last))
		}
	}
	tries = append(tries, nameOf(last, word))
	for i := 2; ; i++ {
		for _, t := range tries {
			name := bump.Name{Namespace: bump.DefaultNamespace, Name: t}
			if t != "" && !n.taken[name] {
				n.taken[name] = true
				return name
			}
		}
		tries = []string{nameOf(last, word, fmt.Sprint(i))}
	}
}

// markedFile is a file that gets markers.
type markedFile struct {
	name          string // slash-separated, from the directory that was named
	before, after []byte
	markers       int
}

func markersIn(files []markedFile) (n int) {
	for _, f := range files {
		n += f.markers
	}
	return n
}

// markFiles adds the markers of the rows, and says in the rows where they cannot
// be added.
func (p *initPlan) markFiles(root *os.Root) ([]markedFile, error) {
	var files []markedFile
	for rows := p.rows; len(rows) > 0; {
		name, n := rows[0].image.File, 0
		var marks []setter.Mark
		var rowOf []*initRow
		for ; n < len(rows) && rows[n].image.File == name; n++ {
			if r := rows[n]; r.policy.Name != "" {
				marks, rowOf = append(marks, setter.Mark{Image: r.image, Policy: r.policy}), append(rowOf, r)
			}
		}
		rows = rows[n:]
		if len(marks) == 0 {
			continue
		}
		before, err := root.ReadFile(name)
		if err != nil {
			return nil, err
		}
		after, byHand, err := setter.AddMarkers(before, marks)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for i, why := range byHand {
			rowOf[i].byHand = why
		}
		if n := len(marks) - len(byHand); n > 0 {
			files = append(files, markedFile{name, before, after, n})
		}
	}
	return files, nil
}

// write replaces the file, unless somebody changed it meanwhile.
func (f markedFile) write(root *os.Root) error {
	now, err := root.ReadFile(f.name)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, f.before) {
		return fmt.Errorf("%s has changed while it was looked at", f.name)
	}
	return replaceFile(root, f.name, f.after)
}

// folder returns the innermost directory with everything that is to be marked.
func (p *initPlan) folder() string {
	common := ""
	for _, r := range p.rows {
		if r.policy.Name == "" {
			continue
		}
		dir := path.Dir(r.image.File)
		if common == "" {
			common = dir
		}
		for common != "." && dir != common && !strings.HasPrefix(dir, common+"/") {
			common = path.Dir(common)
		}
	}
	return common
}
