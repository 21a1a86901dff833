package main

import (
	"fmt"
	"strings"

	"hoist/bump"
	"hoist/setter"
)

// initReport is the JSON output; other tools read it.
type initReport struct {
	Images []initImage  `json:"images"`
	Unread []initUnread `json:"unread"`
	Marked int          `json:"marked"`           // images that had a marker before
	Config string       `json:"config,omitempty"` // file that the new policies go to
}

type initImage struct {
	File      string      `json:"file"`
	Line      int         `json:"line"`
	Object    bump.Object `json:"object"`
	Field     string      `json:"field"`
	Image     string      `json:"image"`
	Tag       string      `json:"tag"`
	Digest    string      `json:"digest,omitempty"`
	Policy    string      `json:"policy,omitempty"`    // that the marker names
	Proposal  string      `json:"proposal,omitempty"`  // what it does
	LeftAlone string      `json:"leftAlone,omitempty"` // why there is no proposal, and what to do
	ByHand    string      `json:"byHand,omitempty"`    // why the marker is not written, and what to write
}

type initUnread struct {
	File   string `json:"file"`
	Reason string `json:"reason"`
}

func (p *initPlan) report(unread []setter.Unread, withConfig bool, config string) initReport {
	r := initReport{Images: []initImage{}, Unread: []initUnread{}, Marked: p.marked}
	for _, row := range p.rows {
		i := initImage{
			File: row.image.File, Line: row.image.Line, Object: row.image.Object, Field: row.image.Field,
			Image: row.image.Name, Tag: row.image.Tag, Digest: row.image.Digest,
			Proposal: row.short, LeftAlone: row.why, ByHand: row.byHand,
		}
		if row.policy.Name != "" {
			i.Policy = row.policy.String()
		}
		r.Images = append(r.Images, i)
	}
	for _, u := range unread {
		r.Unread = append(r.Unread, initUnread(u))
	}
	if withConfig {
		r.Config = config
	}
	return r
}

// table is what people read.
func (p *initPlan) table() [][]string {
	rows := [][]string{{"FIELD", "IMAGE", "TAG", "POLICY", "PROPOSAL"}}
	for _, row := range p.rows {
		tag, name, what := row.image.Tag, "-", row.why
		if tag == "" {
			tag = "-"
		}
		if row.policy.Name != "" {
			name, what = row.policy.String(), row.short
		}
		if row.byHand != "" {
			what = "by hand: " + row.byHand
		}
		rows = append(rows, []string{row.image.Position(), row.image.Name, tag, name, what})
	}
	return rows
}

// summary counts the images.
func (p *initPlan) summary() string {
	var marked, byHand, left int
	for _, r := range p.rows {
		switch {
		case r.byHand != "":
			byHand++
		case r.policy.Name != "":
			marked++
		default:
			left++
		}
	}
	if len(p.rows)+p.marked == 0 {
		return "no images found"
	}
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{marked, "to be marked"}, {byHand, "to be marked by hand"}, {left, "left alone"}, {p.marked, "marked already"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return count(len(p.rows)+p.marked, "image") + ": " + strings.Join(parts, ", ")
}
