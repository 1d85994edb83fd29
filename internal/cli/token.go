package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// newToken is what a token is asked for with.
type newToken struct {
	account   string
	duration  time.Duration
	audiences []string
}

func (c *command) token() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make tokens of service accounts",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	n := newToken{}
	create := &cobra.Command{
		Use:   "create --service-account NAMESPACE/NAME",
		Short: "Print a token of a service account, from the running API",
		Long: `Print a token by which its holder is a service account, for a bounded time. It ends at
once when the account is deleted. To have another host join, see "supervisor join-token".`,
		Example: "  supervisor token create --service-account ci/deployer --duration 1h",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.createToken(cmd.Context(), n) },
	}
	c.addDataDir(create)
	create.Flags().StringVar(&n.account, "service-account", "", "the account, NAMESPACE/NAME; it must exist")
	create.Flags().DurationVar(&n.duration, "duration", time.Hour, "how long it is good for; the API may bound it, and at least 10m")
	create.Flags().StringArrayVar(&n.audiences, "audience", nil, "for whom it is; repeatable; by default for the API")
	cmd.AddCommand(create)
	return cmd
}

// shortestToken is the API's bound.
const shortestToken = 10 * time.Minute

func (c *command) createToken(ctx context.Context, n newToken) error {
	namespace, name, ok := strings.Cut(n.account, "/")
	switch {
	case !ok || namespace == "" || name == "" || strings.Contains(name, "/"):
		return usageError{fmt.Errorf("--service-account=%s names none: want NAMESPACE/NAME", n.account)}
	case n.duration < shortestToken:
		return usageError{fmt.Errorf("--duration=%s is too short: want at least %s", n.duration, shortestToken)}
	}
	config, err := c.admin()
	if err != nil {
		return err
	}
	seconds := int64(n.duration.Seconds())
	body, err := json.Marshal(authenticationv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
		Spec:     authenticationv1.TokenRequestSpec{Audiences: n.audiences, ExpirationSeconds: &seconds},
	})
	if err != nil {
		return err
	}
	path := "/api/v1/namespaces/" + url.PathEscape(namespace) + "/serviceaccounts/" + url.PathEscape(name) + "/token"
	code, answer, err := ask(ctx, config, http.MethodPost, path, string(body))
	if err != nil {
		return fmt.Errorf("cannot ask the API for a token: %w: is the supervisor running? `supervisor status` tells", err)
	}
	if code >= 300 {
		return fmt.Errorf("the API gives no token: %s", reasonOf(code, answer))
	}
	given := authenticationv1.TokenRequest{}
	if err := json.Unmarshal(answer, &given); err != nil || given.Status.Token == "" {
		return errors.Join(errors.New("the API answers with no token"), err)
	}
	if got := time.Until(given.Status.ExpirationTimestamp.Time); got < n.duration-time.Minute {
		fmt.Fprintf(c.stderr, "The API bounds it: good until %s.\n", given.Status.ExpirationTimestamp.UTC().Format(time.DateTime))
	}
	_, err = fmt.Fprintln(c.stdout, given.Status.Token)
	return err
}

// reasonOf is what a Status says, and what to do.
func reasonOf(code int, answer []byte) string {
	status := metav1.Status{}
	if err := json.Unmarshal(answer, &status); err != nil || status.Message == "" {
		return fmt.Sprintf("it answers %d", code)
	}
	if code == http.StatusNotFound {
		return status.Message + ": create the service account first, or name another one"
	}
	return status.Message
}
