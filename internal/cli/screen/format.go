package screen

import (
	"fmt"
	"time"
)

// nothing stands for a number that is not known.
const nothing = "-"

// rate prints a number per second in at most five columns: three digits that count.
func rate(n *float64) string {
	switch {
	case n == nil:
		return nothing
	case *n == 0:
		return "0"
	case *n < 9.995:
		return fmt.Sprintf("%.2f", *n)
	case *n < 99.95:
		return fmt.Sprintf("%.1f", *n)
	case *n < 9999.5:
		return fmt.Sprintf("%.0f", *n)
	}
	return fmt.Sprintf("%.0fk", *n/1000)
}

// latency prints seconds in at most five columns.
func latency(seconds *float64) string {
	if seconds == nil {
		return nothing
	}
	switch s := *seconds; {
	case s < 0.0009995:
		return fmt.Sprintf("%.0fµs", s*1e6)
	case s < 0.00995:
		return fmt.Sprintf("%.1fms", s*1e3)
	case s < 0.9995:
		return fmt.Sprintf("%.0fms", s*1e3)
	case s < 9.95:
		return fmt.Sprintf("%.1fs", s)
	default:
		return fmt.Sprintf("%.0fs", s)
	}
}

// size prints bytes in at most five columns, by powers of 1024.
func size(bytes *int64) string {
	if bytes == nil {
		return nothing
	}
	n, unit := float64(*bytes), ""
	for _, next := range []string{"K", "M", "G", "T", "P"} {
		if n < 1023.5 {
			break
		}
		n, unit = n/1024, next
	}
	if unit == "" || n >= 9.95 {
		return fmt.Sprintf("%.0f%s", n, unit)
	}
	return fmt.Sprintf("%.1f%s", n, unit)
}

// percent prints 100 for one CPU in at most five columns.
func percent(n *float64) string {
	if n != nil && *n < 99.95 {
		return fmt.Sprintf("%.1f", *n)
	}
	return rate(n)
}

func number(n *int64) string {
	if n == nil {
		return nothing
	}
	if *n >= 100_000 {
		return fmt.Sprintf("%dk", *n/1000)
	}
	return fmt.Sprint(*n)
}

// age prints seconds by the two largest units, in at most six columns.
func age(seconds *float64) string {
	if seconds == nil {
		return nothing
	}
	d := time.Duration(*seconds * float64(time.Second))
	day := 24 * time.Hour
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d < 100*day:
		return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
	}
	return fmt.Sprintf("%dd", d/day)
}
