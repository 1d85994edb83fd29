package logline

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// Whatever is printed, and in whatever pieces, a line is an object.
func TestEveryLineIsAnObjectThatNamesItsProcess(t *testing.T) {
	said := `{"ts":1.5,"msg":"as it is","tier":"another","n":1e400}` + "\n{}\n{ }\n\r\n\npanic: \"quoted\" \xff\n{\"broken\":\n" + strings.Repeat("x", 3*maxLine) + "\nno end"
	for _, size := range []int{1, 7, 4096, len(said)} {
		out := &bytes.Buffer{}
		w := New(out, "core", "core-0")
		for rest := said; rest != ""; {
			n := min(size, len(rest))
			if written, err := w.Write([]byte(rest[:n])); written != n || err != nil {
				t.Fatal(written, err)
			}
			rest = rest[n:]
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		var messages []string
		for line := range strings.Lines(out.String()) {
			var object map[string]any
			decoder := json.NewDecoder(strings.NewReader(line))
			decoder.UseNumber()
			if err := decoder.Decode(&object); err != nil || object["triptych.tier"] != "core" || object["triptych.replica"] != "core-0" || !strings.HasPrefix(line, Prefix) {
				t.Errorf("%v: %.80s", err, line)
			}
			message, _ := object["msg"].(string)
			messages = append(messages, message[:min(len(message), 20)])
		}
		got := strings.Join(messages, "|")
		if !strings.HasPrefix(got, "as it is|||panic: \"quoted\" \ufffd|{\"broken\":|xxxx") || !strings.HasSuffix(got, "|no end") {
			t.Errorf("in pieces of %d: %s", size, got)
		}
	}
}
