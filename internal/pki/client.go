package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"triptych.dev/triptych/internal/datadir"
)

// UserKubeconfig returns a kubeconfig by which its holder is user, of groups, for so long, though no longer than
// the CA of the data directory is good for. It reaches the API as the administrator's does, which must be there.
func UserKubeconfig(dir datadir.Dir, user string, groups []string, lifetime time.Duration, now time.Time) ([]byte, error) {
	e := &ensurer{Options: Options{Dir: dir}, paths: Paths{dir}, time: now, report: &Report{}}
	files := e.paths.CA()
	for _, needed := range []string{files.Cert, files.Key} {
		have, err := exists(needed)
		if err != nil {
			return nil, err
		}
		if !have {
			return nil, fmt.Errorf("%s is not here, so nothing can be signed with the CA of clients: put that key there, "+
				"or have whoever keeps it sign a client certificate with common name %q and organizations %q", needed, user, groups)
		}
	}
	ca, err := e.loadAuthority(files, true)
	if err != nil {
		return nil, err
	}
	admin, err := clientcmd.LoadFromFile(dir.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("cannot tell where the API is: %w: the supervisor writes that file when it starts", err)
	}
	cluster := admin.Clusters[entry]
	if cluster == nil {
		return nil, fmt.Errorf("cannot tell where the API is: %s has no cluster %q: remove the file, and the supervisor writes it again when it starts", dir.Kubeconfig(), entry)
	}
	spec := leafSpec{name: user, subject: pkix.Name{CommonName: user, Organization: groups}, usage: x509.ExtKeyUsageClientAuth}
	info, err := e.newUser(ca, spec, lifetime)
	if err != nil {
		return nil, err
	}
	config := api.NewConfig()
	context := user + "@" + entry
	config.Clusters[entry], config.AuthInfos[user] = cluster, info
	config.Contexts[context], config.CurrentContext = &api.Context{Cluster: entry, AuthInfo: user}, context
	return clientcmd.Write(*config)
}

// CheckUser refuses what is no name of a user that certificates can hold.
func CheckUser(user string, groups []string, lifetime time.Duration) error {
	switch {
	case user == "":
		return errors.New("--user must say who the holder is to be")
	case len(user) > 64:
		return fmt.Errorf("--user %q is longer than the 64 bytes that a certificate holds", user)
	case lifetime <= 0:
		return fmt.Errorf("--expires=%s is no time: want more than 0, such as 24h", lifetime)
	}
	for _, group := range groups {
		if group == "" {
			return errors.New("--group must name a group")
		}
	}
	return nil
}
