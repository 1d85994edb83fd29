package logline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Stamp is what a line says of itself. What it does not say is empty.
type Stamp struct {
	Time time.Time
	// PID is of the process that wrote it.
	PID int
	// Replica is its name, in lines of New.
	Replica string
}

// klogTime is what follows the letter of klog's severity, but for the year.
const klogTime = "2006 0102 15:04:05.000000"

// Read returns the stamp of a line in the format of klog, of the supervisor's own log, or JSON of etcd or New;
// ok is false for any other. klog's lines are of the year before now that makes them no later.
func Read(line string, now time.Time) (s Stamp, ok bool) {
	switch {
	case line == "":
		return s, false
	case line[0] == '{':
		return readObject(line)
	case strings.IndexByte("IWEF", line[0]) >= 0 && len(line) > 30 && line[5] == ' ':
		return readKlog(line, now)
	}
	word, _, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, word)
	return Stamp{Time: at}, err == nil
}

func readObject(line string) (s Stamp, ok bool) {
	var is struct {
		TS      json.RawMessage `json:"ts"`
		Replica string          `json:"triptych.replica"`
	}
	if json.Unmarshal([]byte(line), &is) != nil || len(is.TS) == 0 {
		return s, false
	}
	s.Replica = is.Replica
	if ms, err := strconv.ParseFloat(string(is.TS), 64); err == nil {
		s.Time = time.UnixMicro(int64(ms * 1000))
		return s, true
	}
	text := strings.Trim(string(is.TS), `"`)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.000000Z0700", "2006-01-02T15:04:05.000Z0700"} {
		if at, err := time.Parse(layout, text); err == nil {
			s.Time = at
			return s, true
		}
	}
	return s, false
}

// readKlog reads "I0102 15:04:05.000000   12345 file.go:1] ...".
func readKlog(line string, now time.Time) (s Stamp, ok bool) {
	at, err := time.ParseInLocation(klogTime, fmt.Sprintf("%04d %s", now.Year(), line[1:21]), now.Location())
	if err != nil {
		return s, false
	}
	if at.After(now.Add(24 * time.Hour)) {
		at = at.AddDate(-1, 0, 0)
	}
	fields := strings.Fields(line[21:min(len(line), 40)])
	if len(fields) == 0 {
		return s, false
	}
	pid, err := strconv.Atoi(fields[0])
	return Stamp{Time: at, PID: pid}, err == nil
}
