package supportbundle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/internal/control"
)

// answerBytes bounds an answer of the API: metrics of large clusters have tens of MiB.
const answerBytes = 64 << 20

// questions are paths that tell how the API server is doing, and of which no answer holds an
// object of users.
var questions = []struct{ name, path string }{
	{"api/version.json", "/version"},
	{"api/readyz.txt", "/readyz?verbose"},
	{"api/livez.txt", "/livez?verbose"},
	{"api/metrics.txt", "/metrics"},
	{"api/priorities.txt", "/debug/api_priority_and_fairness/dump_priority_levels"},
}

// askAPI adds what the API server says, asked as the administrator.
func askAPI(ctx context.Context, a *archive, o Options, status *control.Status) {
	api, err := connect(o)
	if err != nil {
		a.add("api", nil, err)
		return
	}
	if status.Phase == "" { // nobody runs it
		return
	}
	for _, q := range questions {
		text, err := api.get(ctx, q.path)
		a.add(q.name, text, err)
	}
	for _, tier := range status.Tiers {
		flags, err := api.get(ctx, "/debug/tiers/"+tier.Name+"/flagz")
		a.add("api/"+tier.Name+".flags.txt", flags, err)
		if o.Goroutines {
			text, err := api.get(ctx, "/debug/tiers/"+tier.Name+"/debug/pprof/goroutine?debug=2")
			a.add("goroutines/"+tier.Name+".txt", text, err)
		}
	}
	warnings, err := api.warnings(ctx)
	a.addJSON("api/warnings.json", warnings, err)
}

type api struct {
	client *http.Client
	host   string
}

func connect(o Options) (*api, error) {
	config, err := clientcmd.BuildConfigFromFlags("", o.Dir.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.Timeout = patience
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &api{client, config.Host}, nil
}

// get returns an answer even if it is a refusal, which it then tells.
func (a *api) get(ctx context.Context, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.host+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json, text/plain")
	answer, err := a.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, answerBytes))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, answer.Status)
	}
	return text, err
}

// warning is an event of type Warning.
type warning struct {
	Count          int       `json:"count,omitempty"`
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	LastTimestamp  time.Time `json:"lastTimestamp"`
	InvolvedObject struct {
		Kind      string `json:"kind"`
		Namespace string `json:"namespace,omitempty"`
		Name      string `json:"name"`
	} `json:"involvedObject"`
}

// warnings are at most 500.
func (a *api) warnings(ctx context.Context) ([]warning, error) {
	text, err := a.get(ctx, "/api/v1/events?limit=500&fieldSelector=type%3DWarning")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []warning `json:"items"`
	}
	return list.Items, json.Unmarshal(text, &list)
}
