package harness

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// AuditSink is an audit webhook of the test. It appends each event that it is sent
// to a file, a line an event, as the audit log has it.
type AuditSink struct {
	// Kubeconfig is for --audit-webhook-config-file, Path is the file of events.
	Kubeconfig, Path string
	// Away has it answer 500 and keep nothing.
	Away atomic.Bool
	// Batches counts what it took.
	Batches atomic.Int64
}

// StartAuditSink starts one that ends with the test.
func StartAuditSink(t testing.TB) *AuditSink {
	t.Helper()
	dir := TempDir(t)
	s := &AuditSink{Kubeconfig: filepath.Join(dir, "kubeconfig"), Path: filepath.Join(dir, "events")}
	events := Must(os.OpenFile(s.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lines, err := auditLines(r.Body)
		if err != nil || s.Away.Load() {
			http.Error(w, fmt.Sprint("away: ", err), http.StatusInternalServerError)
			return
		}
		events.Write(lines) // with one call, so that no two batches mix
		s.Batches.Add(1)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(func() {
		server.Close()
		events.Close()
	})
	WriteFile(t, s.Kubeconfig, []byte(strings.ReplaceAll(`apiVersion: v1
kind: Config
clusters: [{name: sink, cluster: {server: "URL"}}]
users: [{name: sink}]
contexts: [{name: sink, context: {cluster: sink, user: sink}}]
current-context: sink
`, "URL", server.URL)), 0o600)
	return s
}

// auditLines are the events of a list.
func auditLines(body io.Reader) ([]byte, error) {
	var list struct{ Items []json.RawMessage }
	if err := json.NewDecoder(body).Decode(&list); err != nil {
		return nil, err
	}
	lines := &bytes.Buffer{}
	for _, event := range list.Items {
		if err := json.Compact(lines, event); err != nil {
			return nil, err
		}
		lines.WriteByte('\n')
	}
	return lines.Bytes(), nil
}
