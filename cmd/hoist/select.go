package main

import (
	"context"
	"encoding/json"
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
)

// newSelect returns the verb that tries a policy on a list of tags. It calls
// list to ask a registry, when tags are not given in a file.
func newSelect(list func(ctx context.Context, image string, insecure bool) ([]string, error)) *cobra.Command {
	var f selectFlags
	cmd := &cobra.Command{
		Use:   "select (--semver RANGE | --alphabetical asc|desc | --numerical asc|desc) [--pattern RE [--extract TPL]] [--tags FILE|-] [IMAGE]",
		Short: "Print the newest tag that a policy allows",
		Long: `Print the newest tag that a policy allows, alone on standard output.

The tags come from a file with one tag a line, from standard input (--tags -),
or from the registry of IMAGE. No configuration is read.

Exit codes: 0 a tag was selected, 1 none qualifies or the list could not be
read, 2 the policy or the command line is invalid.`,
		Example: `  hoist select --semver '>=1.0.0 <2.0.0' registry.example.com/org/api-service
  git tag | hoist select --semver '^1' --tags -
  hoist select --numerical asc --pattern '^main-[0-9a-f]+-(?P<ts>[0-9]+)$' --extract '$ts' --tags tags.txt -o json`,
		DisableFlagsInUseLine: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := cobra.MaximumNArgs(1)(cmd, args); err != nil {
				return &exitError{code: 2, err: err}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args, list) },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{code: 2, err: err} })
	flags := cmd.Flags()
	flags.StringVar(&f.semver, "semver", "", "newest version in this `range`")
	flags.StringVar(&f.alphabetical, "alphabetical", "", "last (asc) or first (desc) in byte `order`")
	flags.StringVar(&f.numerical, "numerical", "", "greatest (asc) or least (desc) number, in this `order`")
	flags.StringVar(&f.pattern, "pattern", "", "only tags that match this RE2 `pattern`")
	flags.StringVar(&f.extract, "extract", "", "order this `template` of the pattern's groups instead of the tag")
	flags.StringVar(&f.tags, "tags", "", "`file` with one tag a line, - for standard input")
	flags.StringVarP(&f.output, "output", "o", "", "`format`: json adds why the other tags lost")
	flags.BoolVar(&f.insecure, "insecure", false, "ask the registry over plain HTTP")
	return cmd
}

// selectFlags is the command line of select.
type selectFlags struct {
	semver, alphabetical, numerical string
	pattern, extract                string
	tags, output                    string
	insecure                        bool
}

func (f *selectFlags) run(cmd *cobra.Command, args []string, list func(context.Context, string, bool) ([]string, error)) error {
	p, err := f.policy(cmd)
	if err != nil {
		return &exitError{code: 2, err: err}
	}
	t, err := f.list(cmd, args, list)
	if err != nil {
		return err
	}
	s := p.Select(t)
	if s.Err != nil && t.Image != "" {
		s.Err = fmt.Errorf("%s: %w", t.Image, s.Err)
	}
	if f.output == "json" {
		out := json.NewEncoder(cmd.OutOrStdout())
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(p.Explain(s, nil, time.Now())); err != nil {
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
	switch {
	case chosen != 1:
		return nil, errors.New("expected exactly one of --semver, --alphabetical, --numerical")
	case given("alphabetical") && f.alphabetical == "", given("numerical") && f.numerical == "":
		return nil, errors.New("an order is empty: expected asc or desc")
	case given("extract") && !given("pattern"):
		return nil, errors.New("--extract needs --pattern")
	case f.output != "" && f.output != "json":
		return nil, fmt.Errorf("--output: %q is not a format: expected json", f.output)
	}
	if given("pattern") {
		spec.FilterTags = &policy.FilterTags{Pattern: f.pattern, Extract: f.extract}
	}
	var errs []error
	for _, fault := range spec.Check() {
		errs = append(errs, fmt.Errorf("%s: %s", flagOf[fault.Field], fault.Message))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return policy.New(bump.Name{}, spec)
}

// flagOf names the flag behind a field of the policy.
var flagOf = map[string]string{
	"policy.semver.range":       "--semver",
	"policy.alphabetical.order": "--alphabetical",
	"policy.numerical.order":    "--numerical",
	"filterTags.pattern":        "--pattern",
	"filterTags.extract":        "--extract",
}

// list reads the tags from where the command line says, each once and in byte order.
func (f *selectFlags) list(cmd *cobra.Command, args []string, list func(context.Context, string, bool) ([]string, error)) (bump.Tags, error) {
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
		if t.List, err = list(cmd.Context(), t.Image, f.insecure); err != nil {
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
