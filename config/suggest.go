package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest returns the candidate that a person who typed got most likely meant,
// or "". It looks no further than two typing errors, and takes a candidate that
// is the beginning of got, or the other way round.
func suggest(got string, candidates []string) string {
	best, bestCost := "", 3
	low := strings.ToLower(got)
	sorted := slices.Sorted(slices.Values(candidates))
	for _, c := range sorted {
		cost := distance(low, strings.ToLower(c))
		if cost > 0 && cost >= (min(len(got), len(c))+1)/2 {
			cost = 3 // two errors in a word of three letters are another word
		}
		if cost < bestCost {
			best, bestCost = c, cost
		}
	}
	if best != "" {
		return best
	}
	for _, c := range sorted {
		l := strings.ToLower(c)
		if len(low) >= 3 && len(l) >= 3 && (strings.HasPrefix(l, low) || strings.HasPrefix(low, l)) {
			return c
		}
	}
	return ""
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
