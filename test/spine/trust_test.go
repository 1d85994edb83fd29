package spine

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"triptych.dev/triptych/test/harness"
)

// trusting is an API, and the folder of the files that say whom it believes.
type trusting struct {
	*harness.API
	pki string
	// who is the caller of a case, over connections that last.
	who *rest.Config
}

// add writes the CA behind those in the file, and returns what takes it away again.
// The file is replaced at once: nobody reads half of it.
func (s *trusting) add(t *testing.T, file string, ca *harness.Pair) (remove func()) {
	t.Helper()
	path := s.pki + "/" + file
	before := harness.Must(os.ReadFile(path))(t)
	write := func(content []byte) {
		harness.WriteFile(t, path+".new", content, 0o600)
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(append(bytes.Clone(before), ca.CertPEM()...))
	return func() { write(before) }
}

// A CA that is added to a file of trusted ones counts in every tier as soon as in
// stock, and one that is taken away counts no longer, on connections that are open
// too. Aggregated servers are told what was added; upstream takes nothing back there.
func TestTrustedCAsAreReadAgainLikeStock(t *testing.T) {
	t.Parallel() // it waits more than it works
	const group = "trust.example.com"
	c, s := harness.Shared(t), harness.SharedStock(t)
	sides := map[string]*trusting{"ours": {API: &c.API, pki: c.Path("pki")}, "stock": {API: &s.API, pki: s.Dir + "/pki"}}
	for _, side := range sides {
		installCRD(t, side.API, group)
	}
	for name, trust := range map[string]struct {
		file, told string
		leaf       harness.Leaf
		headers    []string
	}{
		"clients":     {"ca.crt", "client-ca-file", harness.Leaf{CommonName: "next", Usage: clientAuth}, nil},
		"front proxy": {"front-proxy-ca.crt", "requestheader-client-ca-file", harness.Leaf{CommonName: "front-proxy-client", Usage: clientAuth}, []string{"X-Remote-User", "next", "X-Remote-Group", "crowd"}},
	} {
		t.Run(name, func(t *testing.T) {
			ca := harness.Must(harness.NewCA("next-" + trust.told))(t)
			for _, side := range sides {
				side.who = side.ConfigFor(t, harness.Must(ca.Issue(trust.leaf))(t))
			}
			// everywhere waits until every tier answers so, and returns how long that
			// took; the answers must be stock's.
			everywhere := func(want int) map[string]time.Duration {
				took, answers := map[string]time.Duration{}, map[string]map[string]string{}
				for of, side := range sides {
					began := time.Now()
					answers[of] = map[string]string{}
					for tier, path := range map[string]string{"core": tierPaths["core"], "extensions": gadgetsPath(group), "aggregator": tierPaths["aggregator"], "path": "/metrics"} {
						harness.Eventually(t, soon, fmt.Sprintf("%s: %s answers %d", of, tier, want), func() error {
							got, err := harness.Send(t.Context(), side.who, http.MethodGet, path, "", trust.headers...)
							if err == nil && got.Code != want {
								err = fmt.Errorf("%s", got)
							}
							answers[of][tier] = comparable(got)
							return err
						})
					}
					took[of] = time.Since(began)
				}
				if diff := cmp.Diff(answers["stock"], answers["ours"]); diff != "" {
					t.Errorf("(- stock, + ours)\n%s", diff)
				}
				return took
			}
			told := func() {
				for of, side := range sides {
					harness.Eventually(t, soon, of+": aggregated servers are told", func() error {
						config, err := side.Clientset(t).CoreV1().ConfigMaps("kube-system").Get(t.Context(), "extension-apiserver-authentication", metav1.GetOptions{})
						if err == nil && !bytes.Contains([]byte(config.Data[trust.told]), bytes.TrimSpace(ca.CertPEM())) {
							err = fmt.Errorf("%s", config.Data[trust.told])
						}
						return err
					})
				}
			}
			everywhere(http.StatusUnauthorized)
			var removes []func()
			for _, side := range sides {
				removes = append(removes, side.add(t, trust.file, ca))
			}
			t.Cleanup(func() {
				for _, remove := range removes {
					remove()
				}
			})
			t.Log("added:", everywhere(http.StatusForbidden))
			told()
			for _, remove := range removes {
				remove()
			}
			t.Log("taken away:", everywhere(http.StatusUnauthorized))
		})
	}
}
