package scanner

import "testing"

// What was not used for longest goes first, and no more is kept than was said.
func TestRecent(t *testing.T) {
	r := newRecent[string, int](2)
	r.put("a", 1)
	r.put("b", 2)
	r.get("a")
	r.put("c", 3)
	r.put("c", 4)
	for key, want := range map[string]int{"a": 1, "b": 0, "c": 4} {
		if got, ok := r.get(key); got != want || ok != (want != 0) {
			t.Errorf("get(%q) = %d, %t, want %d", key, got, ok, want)
		}
	}
	if len(r.at) != 2 || r.order.Len() != 2 {
		t.Errorf("keeps %d and %d, want 2", len(r.at), r.order.Len())
	}
}
