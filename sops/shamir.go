package sops

import "errors"

// combine puts a data key together of parts, by Shamir's scheme over GF(2^8) with
// the polynomial of AES. The last byte of each part is its x.
func combine(parts [][]byte) ([]byte, error) {
	odd := errors.New("the parts of the data key do not fit together")
	if len(parts) < 2 {
		return nil, odd
	}
	seen := map[byte]bool{}
	for _, p := range parts {
		if len(p) < 2 || len(p) != len(parts[0]) || p[len(p)-1] == 0 || seen[p[len(p)-1]] {
			return nil, odd
		}
		seen[p[len(p)-1]] = true
	}
	key := make([]byte, len(parts[0])-1)
	for i, p := range parts {
		// Lagrange's basis polynomial of this part at 0
		x, basis := p[len(p)-1], byte(1)
		for j, q := range parts {
			if i != j {
				other := q[len(q)-1]
				basis = times(basis, times(other, inverse(x^other)))
			}
		}
		for at := range key {
			key[at] ^= times(p[at], basis)
		}
	}
	return key, nil
}

func times(a, b byte) (product byte) {
	for ; b > 0; b >>= 1 {
		if b&1 == 1 {
			product ^= a
		}
		high := a & 0x80
		if a <<= 1; high != 0 {
			a ^= 0x1b
		}
	}
	return product
}

// inverse is a to the 254th.
func inverse(a byte) byte {
	result := byte(1)
	for range 254 {
		result = times(result, a)
	}
	return result
}
