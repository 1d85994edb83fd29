package cli

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"triptych.dev/triptych/internal/pki"
)

// newKubeconfig is what a kubeconfig of another user is made of.
type newKubeconfig struct {
	user    string
	groups  []string
	expires time.Duration
	output  string
}

func (c *command) kubeconfigCreate() *cobra.Command {
	n := newKubeconfig{}
	cmd := &cobra.Command{
		Use:   "create --user NAME [--group NAME...]",
		Short: "Make a kubeconfig for another user, by a client certificate",
		Long: `Make a kubeconfig for a user of that name, by a client certificate of the CA in
DIR/pki. What the user may do is a question of RBAC. A client certificate cannot be taken
back: give it a short life, or have people log in by OIDC.`,
		Example: "  supervisor kubeconfig create --user jane --group developers --expires 720h -o jane.kubeconfig",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := pki.CheckUser(n.user, n.groups, n.expires); err != nil {
				return usageError{err}
			}
			return c.createKubeconfig(cmd.Context(), n)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVar(&n.user, "user", "", "name of the user")
	cmd.Flags().StringArrayVar(&n.groups, "group", nil, "group of the user; repeatable")
	cmd.Flags().DurationVar(&n.expires, "expires", 365*24*time.Hour, "how long it is good for")
	cmd.Flags().StringVarP(&n.output, "output", "o", "", "file to write, for its owner alone; by default it is printed")
	return cmd
}

func (c *command) createKubeconfig(ctx context.Context, n newKubeconfig) error {
	d, err := c.dir()
	if err != nil {
		return err
	}
	data, err := pki.UserKubeconfig(d, n.user, n.groups, n.expires, time.Now())
	if err != nil {
		return fmt.Errorf("cannot make the kubeconfig: %w", err)
	}
	if err := letIn(ctx, data); err != nil {
		return err
	}
	if n.output == "" {
		_, err = c.stdout.Write(data)
		return err
	}
	return writeNew(n.output, data)
}

// writeNew writes a file that is not there yet, for its owner alone.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if os.IsExist(err) {
		return usageError{fmt.Errorf("%s is there already: name another file by -o, or remove it", path)}
	}
	if err != nil {
		return fmt.Errorf("cannot write the kubeconfig: %w", err)
	}
	if _, err = f.Write(data); err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot write the kubeconfig: %w", err)
	}
	return nil
}

// letInTimeout bounds the question: an API that is away says nothing of the certificate.
const letInTimeout = 3 * time.Second

// letIn finds out whether the API, if it is there, takes the certificate: with --client-ca-file it takes those of another CA.
func letIn(ctx context.Context, kubeconfig []byte) error {
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, letInTimeout)
	defer cancel()
	code, _, err := ask(ctx, config, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)
	if err == nil && code == http.StatusUnauthorized {
		return fmt.Errorf("the API does not take client certificates of pki/ca.crt, but those of --client-ca-file: have that CA sign one, or append pki/ca.crt to that file")
	}
	return nil
}

// ask sends one request with a body of JSON.
func ask(ctx context.Context, config *rest.Config, method, path, body string) (code int, answer []byte, err error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return 0, nil, err
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(config.Host, "/")+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, answer, err
}

// admin is how the administrator reaches the API.
func (c *command) admin() (*rest.Config, error) {
	d, err := c.dir()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Clean(d.Kubeconfig()))
	if err != nil {
		return nil, fmt.Errorf("cannot read the administrator's kubeconfig: %w: the supervisor writes it when it starts", err)
	}
	return config, nil
}
