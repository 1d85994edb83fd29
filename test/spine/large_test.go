package spine

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"triptych.dev/triptych/test/harness"
)

const largeGroup = "large.example.com"

// largeKinds are where a string may be stored. Validation bounds ConfigMaps;
// only etcd bounds custom resources.
var largeKinds = map[string]struct{ path, version, field string }{
	"ConfigMap": {"/api/v1/namespaces/default/configmaps", "v1", "data"},
	"Gadget":    {gadgetsPath(largeGroup), largeGroup + "/v1", "spec"},
}

// Objects near the limits of etcd (1.5 MiB), of its client (2 MiB) and of
// request bodies (3 MiB) are taken or refused in stock's words.
func TestLargeObjectsLikeStock(t *testing.T) {
	ours, stock := &harness.Shared(t).API, &harness.SharedStock(t).API
	for _, api := range []*harness.API{ours, stock} {
		api.KubectlInput(t, blobCRD(largeGroup), "create", "-f", "-")
		served(t, api, gadgetsPath(largeGroup))
	}
	for kind, k := range largeKinds {
		for _, size := range []int{1_400_000, 1_600_000, 3<<20 - 1000, 3<<20 + 1} {
			t.Run(fmt.Sprint(kind, size), func(t *testing.T) {
				object := func(name, blob string) string {
					return fmt.Sprintf(`{"apiVersion": "%s", "kind": "%s", "metadata": {"name": "%s"}, "%s": {"blob": "%s"}}`, k.version, kind, name, k.field, blob)
				}
				name, blob := fmt.Sprint("large-", size), strings.Repeat("x", size)
				one := k.path + "/" + name
				for _, r := range []struct{ method, path, contentType, body string }{
					{http.MethodPost, k.path, "application/json", object(name, blob)},
					{http.MethodGet, one, "", ""},
					{http.MethodGet, k.path + "?fieldSelector=metadata.name%3D" + name, "", ""},
					{http.MethodDelete, one, "", ""},
					{http.MethodPost, k.path, "application/json", object(name, "small")},
					{http.MethodPatch, one, "application/merge-patch+json", fmt.Sprintf(`{"%s": {"blob": "%s"}}`, k.field, blob)},
					{http.MethodPatch, one + "?fieldManager=large&force=true", "application/apply-patch+yaml", object(name, strings.Repeat("y", size))},
					{http.MethodGet, one, "", ""},
					{http.MethodDelete, one, "", ""},
				} {
					got := map[*harness.API]string{}
					for _, api := range []*harness.API{ours, stock} {
						answer, err := harness.Send(t.Context(), api.Config(t), r.method, r.path, r.body, "Content-Type", r.contentType)
						got[api] = storedOrRefused(answer, err)
					}
					if diff := cmp.Diff(got[stock], got[ours]); diff != "" {
						t.Errorf("%s %s (- stock, + ours)\n%s", r.method, r.path, diff)
					}
				}
			})
		}
	}
}

var (
	blobs = regexp.MustCompile(`"blob":"[^"]*"`)
	// bytesSent is the size of a message to etcd, which holds revisions and times.
	bytesSent = regexp.MustCompile(`\d{7}`)
)

// storedOrRefused is what both servers must agree on: the blob, or why not.
func storedOrRefused(answer harness.Answer, err error) string {
	if err != nil {
		return err.Error()
	}
	if answer.Code >= 300 {
		return fmt.Sprint(answer.Code, answer.Header["Retry-After"], string(bytesSent.ReplaceAll(answer.Body, []byte("N"))))
	}
	return fmt.Sprintf("%d, %x", answer.Code, sha256.Sum256(bytes.Join(blobs.FindAll(answer.Body, -1), nil)))
}

// Whoever asks for gzip gets it for a large list and not for a small one, with
// the headers that stock sends, and the content that it gets without.
func TestLargeListsAreCompressedLikeStock(t *testing.T) {
	const group = "compressed.example.com"
	lists := map[string]string{
		"core": "/api/v1/namespaces/default/configmaps?labelSelector=compressed", "custom resources": gadgetsPath(group),
		"APIServices": "/apis/apiregistration.k8s.io/v1/apiservices?labelSelector=compressed",
		"small":       gadgetsPath(group) + "?limit=1&fieldSelector=metadata.name%3Dnone",
	}
	got := map[string]map[string]string{}
	for side, api := range map[string]*harness.API{"ours": &harness.Shared(t).API, "stock": &harness.SharedStock(t).API} {
		api.KubectlInput(t, blobCRD(group), "create", "-f", "-")
		served(t, api, gadgetsPath(group))
		fill(t, api, group)
		for _, old := range []bool{true, false} {
			for name, path := range lists {
				for _, accept := range []string{"gzip", "gzip;q=0", "br", "identity", "deflate, gzip", "GZIP", "*"} {
					for _, media := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
						what := fmt.Sprint(name, accept, media, old)
						if got[what] == nil {
							got[what] = map[string]string{}
						}
						got[what][side] = compressed(t, api, old, path, accept, media)
					}
				}
			}
		}
	}
	zipped := 0
	for what, by := range got {
		if diff := cmp.Diff(by["stock"], by["ours"]); diff != "" {
			t.Errorf("%s (- stock, + ours)\n%s", what, diff)
		}
		if strings.Contains(by["stock"], "[gzip]") {
			zipped++
		}
	}
	if zipped < 3 {
		t.Errorf("stock compresses only %d of these lists", zipped)
	}
}

// fill stores more than the 128 KiB from which on answers are compressed.
func fill(t *testing.T, api *harness.API, group string) {
	t.Helper()
	blob := strings.Repeat("0123456789abcdef", 200_000/16)
	labels := `"labels": {"compressed": "yes"}`
	send := func(method, path, contentType, body string) {
		t.Helper()
		answer := harness.Must(harness.Send(t.Context(), api.Config(t), method, path, body, "Content-Type", contentType))(t)
		if answer.Code >= 300 {
			t.Fatal(answer)
		}
	}
	send(http.MethodPost, "/api/v1/namespaces/default/configmaps", "application/json", fmt.Sprintf(`{"metadata": {"name": "compressed", %s}, "data": {"blob": "%s"}}`, labels, blob))
	send(http.MethodPost, gadgetsPath(group), "application/json",
		fmt.Sprintf(`{"apiVersion": "%s/v1", "kind": "Gadget", "metadata": {"name": "compressed", %s}, "spec": {"blob": "%s"}}`, group, labels, blob))
	send(http.MethodPatch, "/apis/apiregistration.k8s.io/v1/apiservices/v1."+group, "application/merge-patch+json",
		fmt.Sprintf(`{"metadata": {%s, "annotations": {"blob": "%s"}}}`, labels, blob))
}

// compressed asks with an Accept-Encoding and tells how the answer is encoded
// and which kinds it lists.
func compressed(t *testing.T, api *harness.API, old bool, path, accept, media string) string {
	t.Helper()
	resp, cancel := watchBody(t, api, old, path, "Accept-Encoding", accept, "Accept", media)
	defer cancel()
	body := resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" {
		body = io.NopCloser(harness.Must(gzip.NewReader(resp.Body))(t))
	}
	content := harness.Must(io.ReadAll(body))(t)
	var list struct {
		Kind  string
		Items []struct {
			Metadata struct{ Annotations map[string]string }
			Data     map[string]string
			Spec     struct{ Blob string }
		}
	}
	if media == "application/json" {
		if err := json.Unmarshal(content, &list); err != nil {
			t.Errorf("%d of %d bytes: %v", len(content), resp.ContentLength, err)
		}
	}
	return fmt.Sprintf("%s %v %v %v length known: %v, %d, %x", resp.Status, resp.Header["Content-Encoding"], resp.Header["Vary"],
		resp.Header["Content-Type"], resp.ContentLength >= 0, len(list.Items), sha256.Sum256([]byte(fmt.Sprint(list))))
}
