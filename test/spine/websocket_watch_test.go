package spine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"triptych.dev/triptych/test/harness"
)

// A watch over a WebSocket, which is how browsers watch, gives the frames that
// stock gives, one an event, and ends like stock's. Core, custom resources and
// APIServices.
func TestWebSocketWatchesLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	const group = "sockets.example.com"
	frames := map[string]map[string][]string{}
	for side, api := range map[string]*harness.API{"ours": &harness.Shared(t).API, "stock": &harness.SharedStock(t).API} {
		installCRD(t, api, group)
		createGadget(t, api, group, "socket")
		api.Kubectl(t, "create", "configmap", "socket", "--from-literal=k=v")
		for _, object := range []string{
			"/api/v1/namespaces/default/configmaps/socket", gadgetsPath(group) + "/socket",
			"/apis/apiregistration.k8s.io/v1/apiservices/v1.apps",
		} {
			keep := func(what string, got []string) {
				if frames[object+what] == nil {
					frames[object+what] = map[string][]string{}
				}
				frames[object+what][side] = got
			}
			before := versionOf(t, api, object)
			keep(" as it changes", changing(t, api, object))
			keep(" since before", toTheEnd(t, api, object, "timeoutSeconds=2&resourceVersion="+before, "application/json"))
			for query, accept := range map[string]string{
				"timeoutSeconds=1": "", "timeoutSeconds=1&pretty=1": "application/json", "resourceVersion=x": "",
				"timeoutSeconds=1&x": "application/vnd.kubernetes.protobuf;stream=watch",
				"timeoutSeconds=1&y": "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "timeoutSeconds=1&z": "text/html",
			} {
				keep(" "+query+" "+accept, toTheEnd(t, api, object, query, accept))
			}
		}
	}
	for what, by := range frames {
		if diff := cmp.Diff(by["stock"], by["ours"]); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", what, diff)
		}
		if len(by["stock"]) == 0 {
			t.Errorf("%s: stock sends nothing", what)
		}
	}
}

// versionOf is the resource version of an object or a collection.
func versionOf(t *testing.T, api *harness.API, path string) string {
	t.Helper()
	var object metav1.PartialObjectMetadata
	api.Get(t, path).Into(t, &object)
	return object.ResourceVersion
}

// dialWatch opens a watch of one object; if it is refused the answer says why.
func dialWatch(t *testing.T, api *harness.API, object, query, accept string) (*websocket.Conn, string) {
	t.Helper()
	config := api.Config(t)
	collection, name := object[:strings.LastIndex(object, "/")], object[strings.LastIndex(object, "/")+1:]
	address := strings.Replace(config.Host, "https", "wss", 1) + collection + "?watch=true&fieldSelector=metadata.name%3D" + name + "&" + query
	header := http.Header{"Origin": {config.Host}}
	if accept != "" {
		header.Set("Accept", accept)
	}
	ws, resp, err := (&websocket.Dialer{TLSClientConfig: api.TLS(t)}).DialContext(t.Context(), address, header)
	if errors.Is(err, websocket.ErrBadHandshake) {
		body, _ := io.ReadAll(resp.Body)
		return nil, resp.Status + resp.Header.Get("Content-Type") + string(body)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ws.Close() })
	_ = ws.SetReadDeadline(time.Now().Add(soon))
	return ws, ""
}

// changing watches an object while it is patched, each time when the frame of
// the last change is there.
func changing(t *testing.T, api *harness.API, object string) (frames []string) {
	t.Helper()
	ws, refused := dialWatch(t, api, object, "", "")
	if refused != "" {
		t.Fatal(refused)
	}
	for i := range 4 {
		kind, frame, err := ws.ReadMessage()
		if err != nil {
			t.Fatalf("%s: frame %d: %v", object, i, err)
		}
		frames = append(frames, framed(kind, frame))
		value := fmt.Sprintf(`"%d"`, i)
		if i == 2 {
			value = "null" // leave no trace
		}
		patch := `{"metadata": {"annotations": {"watched": ` + value + `}}}`
		if i == 3 {
			break
		}
		answer := harness.Must(harness.Send(t.Context(), api.Config(t), "PATCH", object, patch, "Content-Type", "application/merge-patch+json"))(t)
		if answer.Code != http.StatusOK {
			t.Fatal(answer)
		}
	}
	return frames
}

// toTheEnd returns all frames, and last how the server ends the watch.
func toTheEnd(t *testing.T, api *harness.API, object, query, accept string) (frames []string) {
	t.Helper()
	ws, refused := dialWatch(t, api, object, query, accept)
	if refused != "" {
		return []string{refused}
	}
	for {
		kind, frame, err := ws.ReadMessage()
		if err != nil {
			return append(frames, err.Error())
		}
		frames = append(frames, framed(kind, frame))
	}
}

// framed is a frame without what differs between any two clusters.
func framed(kind int, frame []byte) string {
	var e struct {
		Type   string
		Object map[string]any
	}
	if json.Unmarshal(frame, &e) != nil {
		return fmt.Sprintf("%d %q...", kind, frame[:min(len(frame), 4)])
	}
	if metadata, ok := e.Object["metadata"].(map[string]any); ok {
		for _, own := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
			delete(metadata, own)
		}
	}
	delete(e.Object, "status")
	if e.Type == "ERROR" {
		delete(e.Object, "message") // names revisions
	}
	content, _ := json.Marshal(e)
	lines := strings.Count(string(frame), "\n")
	return fmt.Sprintf("%d, %d lines: %s", kind, lines, content)
}
