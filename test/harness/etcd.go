package harness

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
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

	dir string
}

// etcdEnv makes Main run etcd in the named folder instead of tests.
const etcdEnv = "TRIPTYCH_TEST_ETCD"

const etcdStartBound = 30 * time.Second

// etcdCertificates makes ca, server and client in dir; server is valid for hosts.
func etcdCertificates(dir string, hosts ...string) error {
	ca, err := NewCA("etcd-ca")
	if err != nil {
		return err
	}
	for name, leaf := range map[string]Leaf{
		"server": {CommonName: "etcd", Hosts: hosts, Usage: bothUsages},
		"client": {CommonName: "client", Usage: clientUsage},
	} {
		pair, err := ca.Issue(leaf)
		if err == nil {
			err = pair.Write(dir + "/" + name)
		}
		if err != nil {
			return err
		}
	}
	return ca.Write(dir + "/ca")
}

// StartEtcd starts an etcd that keeps everything in dir. Its certificate is valid
// for hosts too.
func StartEtcd(dir string, hosts ...string) (*Etcd, error) {
	if err := etcdCertificates(dir, append(hosts, "127.0.0.1")...); err != nil {
		return nil, err
	}
	e := &Etcd{dir: dir, CAFile: dir + "/ca.crt", CertFile: dir + "/client.crt", KeyFile: dir + "/client.key"}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	e.URL = fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := e.Again(); err != nil {
		return nil, err
	}
	return e, nil
}

// Again starts it anew, at the same address with the same data, after it has exited.
func (e *Etcd) Again() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	e.Process, err = StartProcess(syscall.SIGKILL, []string{etcdEnv + "=" + e.dir, "TRIPTYCH_TEST_ETCD_URL=" + e.URL}, self)
	return err
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
	if addresses := strings.Fields(os.Getenv(memberEnv)); len(addresses) > 0 {
		if err := joinMembers(config, dir, addresses); err != nil {
			return err
		}
	}

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
