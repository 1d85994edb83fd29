package harness

import (
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// EtcdMember is one member of an etcd cluster, on a host or at an address of its own.
type EtcdMember struct {
	// Dir holds everything; ca.crt, server.crt and client.crt with their keys are there.
	Dir string
	// On is nil for one that runs where the test does.
	On *Host
	// Address is one of the host's, and All are those of all members.
	Address string
	All     []string
	// Process is that which was started first.
	Process *Process
}

// memberEnv makes serveEtcd a member: its own address, then those of all.
const memberEnv = "TRIPTYCH_TEST_ETCD_MEMBER"

// Start starts the member, or starts it again.
func (m EtcdMember) Start() (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	env := []string{etcdEnv + "=" + m.Dir, memberEnv + "=" + strings.Join(append([]string{m.Address}, m.All...), " ")}
	command := []string{self}
	if m.On != nil {
		command = append(m.On.On(), self)
	}
	return StartProcess(syscall.SIGKILL, env, command[0], command[1:]...)
}

// StartEtcdCluster starts a member on each host, at its IPv6 address if six, and returns
// them, and what the supervisor needs to use them.
func StartEtcdCluster(dir string, hosts []*Host, six bool) (members []EtcdMember, flags []string, err error) {
	var addresses []string
	for _, h := range hosts {
		address := h.IP
		if six {
			address = h.IP6
		}
		addresses = append(addresses, address)
	}
	return startMembers(dir, addresses, hosts)
}

// StartEtcdMembers does so at addresses of this machine.
func StartEtcdMembers(dir string, addresses ...string) (members []EtcdMember, flags []string, err error) {
	return startMembers(dir, addresses, make([]*Host, len(addresses)))
}

func startMembers(dir string, addresses []string, hosts []*Host) (members []EtcdMember, flags []string, err error) {
	// Members on one machine call one another from 127.0.0.1, and etcd looks at that.
	if err := etcdCertificates(dir, append(slices.Clone(addresses), "127.0.0.1")...); err != nil {
		return nil, nil, err
	}
	var urls []string
	for i, address := range addresses {
		m := EtcdMember{Dir: dir, On: hosts[i], Address: address, All: addresses}
		if m.Process, err = m.Start(); err != nil {
			return nil, nil, err
		}
		members, urls = append(members, m), append(urls, clientURL(address))
	}
	return members, []string{
		"--etcd-servers=" + strings.Join(urls, ","), "--etcd-cafile=" + dir + "/ca.crt",
		"--etcd-certfile=" + dir + "/client.crt", "--etcd-keyfile=" + dir + "/client.key",
	}, nil
}

func clientURL(address string) string { return "https://" + net.JoinHostPort(address, "2379") }
func peerURL(address string) string   { return "https://" + net.JoinHostPort(address, "2380") }

// joinMembers makes config that of a member. Elections take long enough for machines that
// are busy with other tests.
func joinMembers(config *embed.Config, dir string, addresses []string) error {
	own, all := addresses[0], addresses[1:]
	client, err := url.Parse(clientURL(own))
	if err != nil {
		return err
	}
	peer, err := url.Parse(peerURL(own))
	if err != nil {
		return err
	}
	config.Name, config.Dir = own, dir+"/data-"+own
	config.TickMs, config.ElectionMs = 500, 5000
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	var cluster []string
	for _, one := range all {
		cluster = append(cluster, one+"="+peerURL(one))
	}
	config.InitialCluster = strings.Join(cluster, ",")
	config.PeerTLSInfo.CertFile, config.PeerTLSInfo.KeyFile = dir+"/server.crt", dir+"/server.key"
	config.PeerTLSInfo.TrustedCAFile, config.PeerTLSInfo.ClientCertAuth = dir+"/ca.crt", true
	return nil
}
