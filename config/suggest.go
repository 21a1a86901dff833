package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns the candidate that a person who typed got most likely meant,
// or "". It looks no further than two typing errors, and then takes a candidate
// that begins like got: "repository" for "repositories".
func suggest(got string, candidates []string) string {
	best, bestCost := "", 3
	low := strings.ToLower(got)
	sorted := slices.Sorted(slices.Values(candidates))
	for _, c := range sorted {
		cost := distance(low, strings.ToLower(c))
		if cost > 0 && cost >= (min(len(got), len(c))+1)/2 {
			continue // two errors in a word of three letters are another word
		}
		if cost < bestCost {
			best, bestCost = c, cost
		}
	}
	if best != "" {
		return best
	}
	common := 2 // letters that the two have to share at least, less one
	for _, c := range sorted {
		n := commonPrefix(low, strings.ToLower(c))
		if n > common && 4*n >= 3*min(len(low), len(c)) {
			best, common = c, n
		}
	}
	return best
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// didYouMean returns the hint for a suggestion, or "".
func didYouMean(suggestion string) string {
	if suggestion == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", suggestion)
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b out of a. Words longer than 100 bytes are far from everything.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return 100
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
