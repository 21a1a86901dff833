package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/setter"
)

// newSet returns "hoist set": the marked fields of a directory, rewritten in
// place, with no Git and no registry.
func newSet() *cobra.Command {
	var images []string
	var diff bool
	var output string
	cmd := &cobra.Command{
		Use:   "set DIR --image NS:NAME=IMAGE:TAG[@DIGEST]...",
		Short: "Rewrite the marked fields below a directory",
		Long: `Rewrite the fields below DIR that are marked with one of the policies given by
--image, and write only the files that change. A marker that names another
policy, or that cannot be followed, is listed on stderr and left alone. With
--diff nothing is written; with -o json the report on stdout replaces the diff.

Exit codes: 0 done, 1 a field of a given policy could not be set, a file could
not be read or written, or the command line is wrong. The other files are
written all the same.`,
		Example: `  hoist set ./apps --image flux-system:web=ghcr.io/acme/web:1.4.3
  hoist set ./apps --image flux-system:web=ghcr.io/acme/web:1.4.3 --diff`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "text", "json"); err != nil {
				return err
			}
			selections, err := parseImages(images)
			if err != nil {
				return err
			}
			s := setRun{diff: diff, json: output == "json", out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
			return s.run(cmd.Context(), args[0], selections)
		},
	}
	cmd.Flags().StringArrayVar(&images, "image", nil, "what a policy has selected: `NS:NAME=IMAGE:TAG[@DIGEST]` (repeatable)")
	cmd.Flags().BoolVar(&diff, "diff", false, "print the unified diff and write nothing")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

var (
	tagGrammar    = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestGrammar = regexp.MustCompile(`^[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,}$`)
	imageGrammar  = regexp.MustCompile(`^(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*$`)
)

// parseImages reads the values of --image, all faults at once.
func parseImages(images []string) (map[bump.Name]bump.Selection, error) {
	out := make(map[bump.Name]bump.Selection, len(images))
	var faults []error
	for _, text := range images {
		s, err := parseImage(text)
		if err != nil {
			faults = append(faults, fmt.Errorf("--image %q: %w", text, err))
			continue
		}
		if old, twice := out[s.Policy]; twice && old.Reference() != s.Reference() {
			faults = append(faults, fmt.Errorf("--image %q: policy %s is already set to %s", text, s.Policy, old.Reference()))
			continue
		}
		out[s.Policy] = s
	}
	return out, errors.Join(faults...)
}

// parseImage reads NS:NAME=IMAGE:TAG[@DIGEST]. The registry may have a port.
func parseImage(text string) (s bump.Selection, err error) {
	policy, ref, ok := strings.Cut(text, "=")
	if !ok {
		return s, errors.New("expected NS:NAME=IMAGE:TAG[@DIGEST]")
	}
	if s.Policy, err = bump.ParseName(policy); err != nil {
		return s, err
	}
	ref, s.Digest, ok = strings.Cut(ref, "@")
	if ok && !digestGrammar.MatchString(s.Digest) {
		return s, fmt.Errorf("%q is not a digest such as sha256:0123…", s.Digest)
	}
	colon := strings.LastIndexByte(ref, ':')
	if colon < strings.LastIndexByte(ref, '/') || colon < 0 {
		return s, fmt.Errorf("%q has no tag", ref)
	}
	s.Tags.Image, s.Tag = ref[:colon], ref[colon+1:]
	if !imageGrammar.MatchString(s.Tags.Image) {
		return s, fmt.Errorf("%q is not the name of an image", s.Tags.Image)
	}
	if !tagGrammar.MatchString(s.Tag) {
		return s, fmt.Errorf("%q is not a tag", s.Tag)
	}
	return s, nil
}

// setRun is one run of the verb.
type setRun struct {
	diff, json bool
	out, err   io.Writer
	report     setReport
	failed     bool            // a field of a given policy was not set
	written    map[string]bool // directories with new files, to be synced
}

// setReport is the JSON output; other tools read it.
type setReport struct {
	Files    map[string][]setField `json:"files"`
	Problems []setProblem          `json:"problems"`
	Notices  []string              `json:"notices,omitempty"` // files that were passed over and may hold markers
}

type setField struct {
	Line   int         `json:"line"`
	Object bump.Object `json:"object"`
	Policy string      `json:"policy"`
	Old    string      `json:"old"`
	New    string      `json:"new"`
}

type setProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Message string `json:"message"`
}

func (s *setRun) run(ctx context.Context, dir string, selections map[bump.Name]bump.Selection) error {
	s.written = map[string]bool{}
	s.report = setReport{Files: map[string][]setField{}, Problems: []setProblem{}}
	dir, opt, err := setTarget(dir)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	found, err := setter.NewCache().Find(ctx, setter.Dir(dir), opt)
	if err != nil {
		return err
	}
	s.report.Notices = found.Notices
	verdicts := s.decide(found.Sites, selections)
	for len(verdicts) > 0 {
		file := verdicts[0].Site.File
		n := 0
		for n < len(verdicts) && verdicts[n].Site.File == file {
			n++
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.change(root, file, verdicts[:n]); err != nil {
			s.failed = true
			s.problem(file, verdicts[0].Site.Line, strings.TrimPrefix(err.Error(), verdicts[0].Site.Position()+": "))
		}
		verdicts = verdicts[n:]
	}
	for dir := range s.written {
		if err := syncDir(root, dir); err != nil {
			return err
		}
	}
	return s.finish()
}

// setTarget splits what the person named into a directory and what to look at
// below it: everything, or one file.
func setTarget(name string) (string, setter.Options, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return "", setter.Options{}, err
	}
	if fi.IsDir() {
		return name, setter.Options{}, nil
	}
	return filepath.Dir(name), setter.Options{Paths: []string{filepath.Base(name)}}, nil
}

// decide returns a verdict for each field that gets a new value; the other sites
// are current or a problem.
func (s *setRun) decide(sites []bump.Site, selections map[bump.Name]bump.Selection) []bump.Verdict {
	var verdicts []bump.Verdict
	for _, site := range sites {
		sel, known := selections[site.Policy]
		if site.Problem != "" {
			s.failed = s.failed || known
			s.problem(site.File, site.Line, site.Problem)
			continue
		}
		if !known {
			s.problem(site.File, site.Line, fmt.Sprintf("marker names unknown policy %q", site.Policy))
			continue
		}
		v, err := setter.Value(site, sel)
		if err != nil {
			s.failed = true
			s.problem(site.File, site.Line, err.Error())
			continue
		}
		if v != site.Value {
			verdicts = append(verdicts, bump.Verdict{Site: site, Selection: sel, Outcome: bump.Bump, New: v})
		}
	}
	return verdicts
}

// change edits one file, and writes it or prints the difference.
func (s *setRun) change(root *os.Root, file string, vs []bump.Verdict) error {
	before, err := root.ReadFile(file)
	if err != nil {
		return err
	}
	after, err := setter.Edit(before, vs)
	if err != nil {
		return err
	}
	if s.diff && !s.json {
		if _, err := io.WriteString(s.out, udiff.Unified("a/"+file, "b/"+file, string(before), string(after))); err != nil {
			return err
		}
	} else if !s.diff {
		if err := replaceFile(root, file, after); err != nil {
			return err
		}
		s.written[path.Dir(file)] = true
	}
	for _, v := range vs {
		s.report.Files[file] = append(s.report.Files[file], setField{
			Line: v.Site.Line, Object: v.Site.Object, Policy: v.Site.Policy.String(), Old: v.Site.Value, New: v.New,
		})
		if !s.diff && !s.json {
			fmt.Fprintf(s.out, "%s %s %s -> %s\n", v.Site.Position(), v.Site.Policy, v.Site.Value, v.New)
		}
	}
	return nil
}

func (s *setRun) problem(file string, line int, message string) {
	s.report.Problems = append(s.report.Problems, setProblem{file, line, message})
}

// finish prints what is left to say: the report, or the problems.
func (s *setRun) finish() error {
	slices.SortStableFunc(s.report.Problems, func(a, b setProblem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	if s.json {
		if err := writeAs(s.out, "json", s.report); err != nil {
			return err
		}
	} else {
		for _, p := range s.report.Problems {
			fmt.Fprintf(s.err, "%s:%d: %s\n", p.File, p.Line, p.Message)
		}
		for _, n := range s.report.Notices {
			fmt.Fprintf(s.err, "notice: %s\n", n)
		}
	}
	if s.failed {
		return &exitError{code: 1}
	}
	return nil
}

// replaceFile writes a file of root as a whole or not at all: into a temporary file
// beside it, which is synced and renamed onto it. The file's mode stays.
func replaceFile(root *os.Root, name string, content []byte) (err error) {
	fi, err := root.Lstat(name)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is not a plain file", name)
	}
	temp := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()+".tmp")
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fi.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			root.Remove(temp)
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(fi.Mode().Perm()) // whatever the umask
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return root.Rename(temp, name)
}

// syncDir makes the renames within a directory last through a power cut.
func syncDir(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
