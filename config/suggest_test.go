package config

import "testing"

func TestSuggest(t *testing.T) {
	keys := []string{"interval", "image", "images", "policy", "policies", "prune", "path", "push", "repositories", "url"}
	for _, row := range []struct{ got, want string }{
		{"intervall", "interval"},
		{"Interval", "interval"},
		{"itnerval", "interval"},
		{"imges", "images"},
		{"repository", "repositories"},
		{"repo", "repositories"},
		{"interval_seconds", "interval"},
		{"polices", "policies"},
		{"ulr", "url"},
		{"ur", ""}, // two letters of three are another word
		{"password", ""},
		{"", ""},
		{"zzz", ""},
	} {
		if got := suggest(row.got, keys); got != row.want {
			t.Errorf("suggest(%q) = %q, want %q", row.got, got, row.want)
		}
	}
}
