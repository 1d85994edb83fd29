package harness

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// Etcd is an etcd of its own process, with mutual TLS on loopback as the
// supervisor runs it. It is not the supervisor's, so that a fault of that cannot
// hide behind itself.
type Etcd struct {
	*Process
	URL string
	// CAFile, CertFile and KeyFile are what a client needs.
	CAFile, CertFile, KeyFile string
}

// etcdEnv makes Main run etcd in the named folder instead of tests.
const etcdEnv = "TRIPTYCH_TEST_ETCD"

const etcdStartBound = 30 * time.Second

// StartEtcd starts an etcd that keeps everything in dir. Its certificate is valid
// for hosts too.
func StartEtcd(dir string, hosts ...string) (*Etcd, error) {
	ca, err := NewCA("etcd-ca")
	if err != nil {
		return nil, err
	}
	for name, leaf := range map[string]Leaf{
		"server": {CommonName: "etcd", Hosts: append(hosts, "127.0.0.1"), Usage: bothUsages},
		"client": {CommonName: "client", Usage: clientUsage},
	} {
		pair, err := ca.Issue(leaf)
		if err == nil {
			err = pair.Write(dir + "/" + name)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := ca.Write(dir + "/ca"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	e := &Etcd{CAFile: dir + "/ca.crt", CertFile: dir + "/client.crt", KeyFile: dir + "/client.key"}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	e.URL = fmt.Sprintf("https://127.0.0.1:%d", port)
	if e.Process, err = StartProcess(syscall.SIGKILL, []string{etcdEnv + "=" + dir, "TRIPTYCH_TEST_ETCD_URL=" + e.URL}, self); err != nil {
		return nil, err
	}
	return e, nil
}

// Flags are what kube-apiserver and the supervisor need to use it.
func (e *Etcd) Flags() []string {
	return []string{
		"--etcd-servers=" + e.URL, "--etcd-cafile=" + e.CAFile,
		"--etcd-certfile=" + e.CertFile, "--etcd-keyfile=" + e.KeyFile,
	}
}

// serveEtcd is the child of StartEtcd. It returns when it is told to stop.
func serveEtcd(dir string) error {
	client, err := url.Parse(os.Getenv("TRIPTYCH_TEST_ETCD_URL"))
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Name, config.Dir, config.LogLevel = "test", dir+"/data", "warn"
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	// A single member still wants a peer listener: a socket that nobody finds.
	peer := url.URL{Scheme: "unix", Host: "", Path: dir + "/peer"}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	config.InitialCluster = config.Name + "=" + peer.String()
	config.ClientTLSInfo.CertFile, config.ClientTLSInfo.KeyFile = dir+"/server.crt", dir+"/server.key"
	config.ClientTLSInfo.TrustedCAFile, config.ClientTLSInfo.ClientCertAuth = dir+"/ca.crt", true

	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, os.Interrupt)
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	case <-time.After(etcdStartBound):
		select {
		case <-server.Server.ReadyNotify():
		default:
			return errors.New("etcd is not ready in time")
		}
	}
	<-stop
	return nil
}
