package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/policy"
	"hoist/scanner"
)

// shop is the registry that select asks: for the tags, when they are not given in
// a file, and for what a tag points to, when the policy needs to know.
type shop interface {
	List(ctx context.Context, image string, insecure bool) ([]string, error)
	// Inspect returns [scanner.ErrNotFound] where there is no such tag.
	Inspect(ctx context.Context, image string, insecure bool, tag string, asks policy.Asks) (bump.Artifact, error)
}

// newSelect returns the verb that tries a policy on a list of tags. It calls open
// when a registry has to be asked, and what that returns when it is done.
func newSelect(open func() (shop, func())) *cobra.Command {
	var f selectFlags
	cmd := &cobra.Command{
		Use:   "select ORDER [--suffix SUFFIX] [--pattern RE [--extract TPL]] [--minimum-age TIME] [--platform PLATFORM] [--tags FILE|-] [IMAGE]",
		Short: "Print the newest tag that a policy allows",
		Long: `Print the newest tag that a policy allows, alone on standard output.

ORDER is one of --semver RANGE, --alphabetical asc|desc, --numerical asc|desc,
--calver LAYOUT, --newest-build. The tags come from a file with one tag a line,
from standard input (--tags -), or from the registry of IMAGE. No configuration
is read.

--newest-build, --minimum-age and --platform look tags up in the registry of
IMAGE, the newest first until one passes; --newest-build looks up each.

Exit codes: 0 a tag was selected, 1 none qualifies or the list could not be
read, 2 the policy or the command line is invalid.`,
		Example: `  hoist select --semver '>=1.0.0 <2.0.0' registry.example.com/org/api-service
  git tag | hoist select --semver '^1' --tags -
  hoist select --semver '*' --suffix -alpine --minimum-age 30m registry.example.com/org/api-service
  hoist select --calver YYYY.0M.MICRO --tags tags.txt
  hoist select --numerical asc --pattern '^main-[0-9a-f]+-(?P<ts>[0-9]+)$' --extract '$ts' --tags tags.txt -o json`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return &exitError{code: 2, err: err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args, open) },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{code: 2, err: err} })
	flags := cmd.Flags()
	flags.StringVar(&f.semver, "semver", "", "newest version in this `range`")
	flags.StringVar(&f.alphabetical, "alphabetical", "", "last (asc) or first (desc) in byte `order`")
	flags.StringVar(&f.numerical, "numerical", "", "greatest (asc) or least (desc) number, in this `order`")
	flags.StringVar(&f.calver, "calver", "", "newest calendar version of this `layout`, such as YYYY.0M.0D")
	flags.BoolVar(&f.newestBuild, "newest-build", false, "the image that was built last")
	flags.BoolVar(&f.loose, "loose", false, "with --semver: one to four parts, and leading zeros")
	flags.StringSliceVar(&f.preReleases, "pre-release", nil, "with --semver: pre-releases of this `channel` count, * for all; may repeat")
	flags.StringVar(&f.suffix, "suffix", "", "only tags that end in this `suffix`, which is cut off first")
	flags.StringVar(&f.minimumAge, "minimum-age", "", "only images at least this old, by their build `time`")
	flags.StringSliceVar(&f.platforms, "platform", nil, "only images that have this `platform`, such as linux/amd64; may repeat")
	flags.StringVar(&f.pattern, "pattern", "", "only tags that match this RE2 `pattern`")
	flags.StringVar(&f.extract, "extract", "", "order this `template` of the pattern's groups instead of the tag")
	flags.StringVar(&f.tags, "tags", "", "`file` with one tag a line, - for standard input")
	flags.StringVarP(&f.output, "output", "o", "", "`format`: json or yaml adds why the other tags lost")
	flags.BoolVar(&f.insecure, "insecure", false, "ask the registry over plain HTTP")
	return cmd
}

// selectFlags is the command line of select.
type selectFlags struct {
	semver, alphabetical, numerical, calver string
	newestBuild, loose                      bool
	preReleases                             []string
	suffix, pattern, extract                string
	minimumAge                              string
	platforms                               []string
	tags, output                            string
	insecure                                bool
}

func (f *selectFlags) run(cmd *cobra.Command, args []string, open func() (shop, func())) error {
	p, err := f.policy(cmd)
	if err != nil {
		return &exitError{code: 2, err: err}
	}
	asks := p.Asks()
	if asks != (policy.Asks{}) && len(args) == 0 {
		return &exitError{code: 2, err: errors.New("nothing to look up: --newest-build, --minimum-age and --platform need an image")}
	}
	registry, done := open()
	defer done()
	t, err := f.list(cmd, args, registry)
	if err != nil {
		return err
	}
	now := time.Now()
	s, look := p.Select(t), lookup{ctx: cmd.Context(), registry: registry, image: t.Image, insecure: f.insecure, asks: asks, found: make(map[string]bump.Artifact)}
	if asks != (policy.Asks{}) {
		if s, err = elect(p, t, &look, now); err != nil {
			return err
		}
	}
	if s.Err != nil && t.Image != "" {
		s.Err = fmt.Errorf("%s: %w", t.Image, s.Err)
	}
	if f.output != "" {
		if err := writeAs(cmd.OutOrStdout(), f.output, p.Explain(s, look.known, now)); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return s.Err
	}
	if s.Err != nil {
		return s.Err
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), s.Tag); err != nil {
		return fmt.Errorf("write the tag: %w", err)
	}
	return nil
}

// lookup asks a registry about each tag once.
type lookup struct {
	ctx      context.Context
	registry shop
	image    string
	insecure bool
	asks     policy.Asks
	found    map[string]bump.Artifact
}

// known returns what was found of a tag.
func (l *lookup) known(tag string) (bump.Artifact, bool) {
	a, ok := l.found[tag]
	return a, ok
}

// find asks the registry, unless it was asked. There is false where the tag is
// gone since the list was read.
func (l *lookup) find(tag string) (a bump.Artifact, there bool, err error) {
	if a, ok := l.found[tag]; ok {
		return a, true, nil
	}
	a, err = l.registry.Inspect(l.ctx, l.image, l.insecure, tag, l.asks)
	switch {
	case errors.Is(err, scanner.ErrNotFound):
		return bump.Artifact{}, false, nil
	case err != nil:
		return bump.Artifact{}, false, err
	}
	l.found[tag] = a
	return a, true, nil
}

// elect chooses the newest tag that passes the checks of p.
func elect(p *policy.Policy, t bump.Tags, look *lookup, now time.Time) (bump.Selection, error) {
	s := bump.Selection{Tags: t}
	if look.asks.Every {
		for _, tag := range p.Candidates(t) {
			if _, _, err := look.find(tag); err != nil {
				return bump.Selection{}, err
			}
		}
	}
	for tag := range p.Ranked(t, look.known, now) {
		a, there, err := look.find(tag)
		if err != nil {
			return bump.Selection{}, err
		}
		over := bump.PassedOver{Tag: tag, Reason: "is on the list, but not in the registry"}
		if there {
			over.Reason, over.Until = p.Refuses(a, now)
		}
		if over.Reason == "" {
			s.Tag, s.Digest, s.Proven = tag, a.Digest, true
			return s, nil
		}
		s.PassedOver = append(s.PassedOver, over)
	}
	if n := len(s.PassedOver); n > 0 {
		first := s.PassedOver[0]
		s.Err = fmt.Errorf("no tag passes the checks: of %d looked up, the newest is %s: %s", n, first.Tag, first.Reason)
	} else if s.Err = p.Select(t).Err; look.asks.Every && len(look.found) > 0 {
		s.Err = fmt.Errorf("no tag qualifies: none of %d images says believably when it was built", len(look.found))
	}
	return s, nil
}

// policy checks the flags against each other and compiles the policy. Faults
// are named by the flag that they came with.
func (f *selectFlags) policy(cmd *cobra.Command) (*policy.Policy, error) {
	given := cmd.Flags().Changed
	var spec policy.Spec
	chosen := 0
	if given("semver") {
		chosen++
		spec.Policy.SemVer = &policy.SemVer{Range: f.semver}
	}
	if given("alphabetical") {
		chosen++
		spec.Policy.Alphabetical = &policy.Alphabetical{Order: f.alphabetical}
	}
	if given("numerical") {
		chosen++
		spec.Policy.Numerical = &policy.Numerical{Order: f.numerical}
	}
	if given("calver") {
		chosen++
		spec.Policy.CalVer = &policy.CalVer{Layout: f.calver}
	}
	if f.newestBuild {
		chosen++
		spec.Policy.NewestBuild = &policy.NewestBuild{}
	}
	switch {
	case chosen != 1:
		return nil, errors.New("expected exactly one of --semver, --alphabetical, --numerical, --calver, --newest-build")
	case spec.Policy.SemVer == nil && (f.loose || given("pre-release")):
		return nil, errors.New("--loose and --pre-release need --semver")
	case given("alphabetical") && f.alphabetical == "", given("numerical") && f.numerical == "":
		return nil, errors.New("an order is empty: expected asc or desc")
	case given("extract") && !given("pattern"):
		return nil, errors.New("--extract needs --pattern")
	case f.output != "" && f.output != "json" && f.output != "yaml":
		return nil, fmt.Errorf("--output: %q is not a format: expected json or yaml", f.output)
	}
	if s := spec.Policy.SemVer; s != nil {
		s.Loose = f.loose
		if given("pre-release") {
			s.PreReleases = f.preReleases
		}
	}
	spec.Suffix, spec.Platforms = f.suffix, f.platforms
	if given("minimum-age") {
		if err := spec.MinimumAge.UnmarshalText([]byte(f.minimumAge)); err != nil {
			return nil, fmt.Errorf("--minimum-age: %w", err)
		}
	}
	if given("pattern") {
		spec.FilterTags = &policy.FilterTags{Pattern: f.pattern, Extract: f.extract}
	}
	var errs []error
	for _, fault := range spec.Check() {
		field, _, _ := strings.Cut(fault.Field, "[")
		errs = append(errs, fmt.Errorf("%s: %s", flagOf[field], fault.Message))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return policy.New(bump.Name{}, spec)
}

// flagOf names the flag behind a field of the policy.
var flagOf = map[string]string{
	"policy.semver.range":       "--semver",
	"policy.semver.preReleases": "--pre-release",
	"policy.alphabetical.order": "--alphabetical",
	"policy.numerical.order":    "--numerical",
	"policy.calver.layout":      "--calver",
	"filterTags.pattern":        "--pattern",
	"filterTags.extract":        "--extract",
	"suffix":                    "--suffix",
	"minimumAge":                "--minimum-age",
	"platforms":                 "--platform",
}

// list reads the tags from where the command line says, each once and in byte order.
func (f *selectFlags) list(cmd *cobra.Command, args []string, registry shop) (bump.Tags, error) {
	t := bump.Tags{}
	if len(args) == 1 {
		t.Image = args[0]
	}
	var err error
	switch {
	case f.tags == "-":
		if t.List, err = readTags(cmd.InOrStdin()); err != nil {
			return bump.Tags{}, fmt.Errorf("read standard input: %w", err)
		}
	case cmd.Flags().Changed("tags"):
		if t.List, err = readTagFile(f.tags); err != nil {
			return bump.Tags{}, err
		}
	case t.Image != "":
		if t.List, err = registry.List(cmd.Context(), t.Image, f.insecure); err != nil {
			return bump.Tags{}, err
		}
	default:
		return bump.Tags{}, &exitError{code: 2, err: errors.New("nothing to select from: expected --tags or an image")}
	}
	t.List = slices.Clone(t.List)
	slices.Sort(t.List)
	t.List = slices.Compact(t.List)
	return t, nil
}

func readTagFile(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readTags(file)
}

// readTags reads one tag a line. Blank lines and white space around a tag do not count.
func readTags(r io.Reader) ([]string, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var tags []string
	for line := range strings.SplitSeq(string(b), "\n") {
		if tag := strings.TrimSpace(line); tag != "" {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}
