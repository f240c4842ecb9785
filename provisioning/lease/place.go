// SPDX-License-Identifier: Apache-2.0

package lease

// Place returns the member that is to run identity, or "" where there are no members. It depends
// on nothing but its arguments, and not on the order of members, so that all replicas agree. Where
// a member goes, only what was placed on it moves; where one comes, only what is placed on it now.
// Each has about as many.
//
// It is rendezvous hashing (Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous",
// 1996): each member draws a number for the identity, and the greatest wins.
func Place(identity string, members []string) string {
	var placed string
	var most uint64
	for i, m := range members {
		drawn := draw(identity, m)
		if i == 0 || drawn > most || drawn == most && m < placed {
			placed, most = m, drawn
		}
	}
	return placed
}

// draw is FNV-1a over both names, with a byte between them that no UTF-8 text has, and then the
// finalizer of SplitMix64: by themselves the last bytes of FNV-1a hardly reach its upper bits.
// Replicas of two versions have to agree, so that it must not change.
func draw(identity, member string) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(identity) {
		h = (h ^ uint64(identity[i])) * prime
	}
	h = (h ^ 0xff) * prime
	for i := range len(member) {
		h = (h ^ uint64(member[i])) * prime
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
