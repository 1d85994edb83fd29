package harness

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// StartReviewer starts a webhook on loopback that knows the users of some
// tokens, and returns the kubeconfig file by which an API server asks it, and what
// tells how often a token was asked about.
func StartReviewer(t testing.TB, users map[string]authenticationv1.UserInfo) (kubeconfig string, asked func(token string) int) {
	t.Helper()
	ca := Must(NewCA("reviewer"))(t)
	var mu sync.Mutex
	counts := map[string]int{}
	url := serveTLS(t, ca, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		mu.Lock()
		counts[review.Spec.Token]++
		mu.Unlock()
		user, known := users[review.Spec.Token]
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: known, User: user}
		answerJSON(w, review)
	}))
	return webhookKubeconfig(t, url, ca), func(token string) int {
		mu.Lock()
		defer mu.Unlock()
		return counts[token]
	}
}

// webhookKubeconfig writes the file by which an API server finds a webhook.
func webhookKubeconfig(t testing.TB, url string, ca *Pair) string {
	t.Helper()
	config := clientcmdapi.NewConfig()
	config.Clusters["reviewer"] = &clientcmdapi.Cluster{Server: url, CertificateAuthorityData: ca.CertPEM()}
	config.AuthInfos["api"] = &clientcmdapi.AuthInfo{}
	config.Contexts["reviewer"] = &clientcmdapi.Context{Cluster: "reviewer", AuthInfo: "api"}
	config.CurrentContext = "reviewer"
	path := TempDir(t) + "/reviewer.kubeconfig"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// As returns the API with the bearer of token in the place of the administrator.
func (a *API) As(t testing.TB, token string) *API {
	t.Helper()
	config := Must(clientcmd.LoadFromFile(a.Kubeconfig))(t)
	for name := range config.AuthInfos {
		config.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	}
	path := TempDir(t) + "/bearer.kubeconfig"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return &API{Kubeconfig: path}
}
