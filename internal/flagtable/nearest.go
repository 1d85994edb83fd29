package flagtable

// maxDistance is how many typing errors still suggest a flag.
const maxDistance = 3

// Nearest returns the one of names that is most like name, or "" when none is
// like it enough to be what was meant.
func Nearest(name string, names []string) string {
	best, least := "", min(maxDistance, len(name)/3)+1
	for _, candidate := range names {
		if d := distance(Normalize(name), candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is Levenshtein's: the least number of characters to insert, delete
// or replace to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
