package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hoist/config"
	"hoist/daemon"
	"hoist/policy"
)

// maxLosers is how many losing tags the table of explain shows.
const maxLosers = 20

// explanation is one policy's answer in `hoist explain -o json`.
type explanation struct {
	Policy string        `json:"policy"`
	Image  string        `json:"image"`
	Report policy.Report `json:"report"`
}

func newExplain() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain IMAGE|POLICY",
		Short: "Tell which tag a policy selects and why the others lost",
		Args:  cobra.ExactArgs(1),
	}
	reading(cmd, func(cmd *cobra.Command, h *daemon.House, format string, args []string) error {
		policies := asked(h.Config, args[0])
		if len(policies) == 0 {
			return fmt.Errorf("no policy or image is called %q; there are %s", args[0], known(h.Config))
		}
		all, err := explainAll(cmd, h, policies)
		if err != nil {
			return err
		}
		if format != "table" {
			return writeAs(cmd.OutOrStdout(), format, all)
		}
		for _, e := range all {
			if err := printExplanation(cmd, e); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

// asked returns the policies that word means: by name, namespace:name, or the image they choose from.
func asked(cfg *config.Config, word string) []config.Policy {
	images := make(map[string]string)
	for _, i := range cfg.Images {
		images[i.Name.String()] = i.Image
	}
	var found []config.Policy
	for _, p := range cfg.Policies {
		if p.Name.Name == word || p.Name.String() == word || images[p.Image.String()] == word {
			found = append(found, p)
		}
	}
	return found
}

func known(cfg *config.Config) string {
	var names []string
	for _, p := range cfg.Policies {
		names = append(names, p.Name.String())
	}
	return strings.Join(names, ", ")
}

func explainAll(cmd *cobra.Command, h *daemon.House, policies []config.Policy) ([]explanation, error) {
	var all []explanation
	for _, p := range policies {
		s, builds, err := h.Elect(cmd.Context(), p)
		if err != nil {
			return nil, err
		}
		all = append(all, explanation{Policy: p.Name.String(), Image: s.Image(), Report: p.Policy.Explain(s, builds, time.Now())})
	}
	return all, nil
}

// steps tells how many tags were left after each step; suffix and checks only
// where they took some.
func steps(r policy.Report) string {
	words := fmt.Sprintf("%d tags listed, %d after exclusions", r.Listed, r.AfterExclusion)
	if r.AfterSuffix != r.AfterExclusion {
		words += fmt.Sprintf(", %d with the suffix", r.AfterSuffix)
	}
	words += fmt.Sprintf(", %d after the filter, %d in the order, %d allowed", r.AfterFilter, r.Parsed, r.InRange)
	if r.AfterChecks != r.InRange {
		words += fmt.Sprintf(", %d after the checks", r.AfterChecks)
	}
	return words
}

func printExplanation(cmd *cobra.Command, e explanation) error {
	out, r := cmd.OutOrStdout(), e.Report
	fmt.Fprintf(out, "policy %s on %s\n", e.Policy, e.Image)
	fmt.Fprintln(out, steps(r))
	switch {
	case r.Selected == "":
		fmt.Fprintf(out, "nothing selected: %s\n", r.Error)
	case r.Digest != "":
		fmt.Fprintf(out, "selected: %s@%s\n", r.Selected, r.Digest)
	default:
		fmt.Fprintf(out, "selected: %s\n", r.Selected)
	}
	if len(r.Losers) == 0 {
		return nil
	}
	rows := [][]string{{"TAG", "WHY NOT"}}
	for _, l := range r.Losers[:min(maxLosers, len(r.Losers))] {
		rows = append(rows, []string{l.Tag, l.Reason})
	}
	if err := table(out, rows); err != nil {
		return err
	}
	if more := len(r.Losers) - maxLosers; more > 0 {
		fmt.Fprintf(out, "and %d more; -o json lists all\n", more)
	}
	return nil
}
