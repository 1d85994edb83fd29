package pki

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"triptych.dev/triptych/internal/wiring"
)

// Certificate is one that is made or used, as it is in its file.
type Certificate struct {
	// Name is what the file is called below DIR/pki, without .crt, and how it is named to `certs renew`.
	Name string `json:"name"`
	// File is the path.
	File string `json:"file"`
	// For says who shows it to whom.
	For string `json:"for"`
	// Subject is its common name, with the organizations.
	Subject string `json:"subject"`
	// SANs are its alternative names: DNS:, IP: or URI: and the name.
	SANs []string `json:"sans,omitempty"`
	// Issuer is the common name of the CA.
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	// Renewed is when it is replaced by itself; zero where somebody has to.
	Renewed *time.Time `json:"renewed,omitempty"`
	// CA tells that it signs others.
	CA bool `json:"ca,omitempty"`
	// Problem says in one line what is wrong with it and what to do.
	Problem string `json:"problem,omitempty"`
}

// List returns all certificates of the data directory, CAs before what they signed, and those that the user
// has given by flags.
func List(o Options) ([]Certificate, error) {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, time: o.now(), report: &Report{}}
	leaves, err := e.leaves()
	if err != nil {
		return nil, err
	}
	var all []Certificate
	for _, a := range authorities(e.EmbeddedEtcd) {
		files := e.paths.pair(a.name)
		ca := e.describe(a.name, files, purposes[a.name])
		ca.CA = true
		all = append(all, ca)
		signs, err := exists(files.Key)
		if err != nil {
			return nil, err
		}
		for _, l := range leaves[a.name] {
			c := e.describe(l.name, e.paths.pair(l.name), purposeOf(l.name))
			if at := c.NotAfter.Add(-e.renewAt(l)); signs && c.Problem == "" {
				c.Renewed = &at
			}
			all = append(all, c)
		}
	}
	if have, _ := exists(e.paths.pair(nextCAName).Cert); have {
		next := e.describe(nextCAName, e.paths.pair(nextCAName), "takes the place of internal/ca: a rotation has begun")
		next.CA = true
		all = append(all, next)
	}
	pairs := append([]GivenPair{{"tls-cert-file", e.TLSCertFile, "tls-private-key-file", e.TLSKeyFile}}, e.Pairs...)
	for _, p := range pairs {
		if p.Cert != "" {
			all = append(all, e.describe("--"+p.CertFlag, wiring.KeyPair{Cert: p.Cert, Key: p.Key}, "yours, by a flag"))
		}
	}
	return all, nil
}

// Names returns the names of the leaves that Renew can renew.
func Names(o Options) ([]string, error) {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, report: &Report{}}
	leaves, err := e.leaves()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, a := range authorities(o.EmbeddedEtcd) {
		for _, l := range leaves[a.name] {
			all = append(all, l.name)
		}
	}
	slices.Sort(all)
	return all, nil
}

func (e *ensurer) describe(name string, files wiring.KeyPair, purpose string) Certificate {
	c := Certificate{Name: name, File: files.Cert, For: purpose}
	chain, err := readCerts(files.Cert)
	if err != nil {
		c.Problem = err.Error()
		return c
	}
	leaf := chain[0]
	c.Subject = strings.Join(append([]string{leaf.Subject.CommonName}, leaf.Subject.Organization...), ", ")
	c.Issuer, c.NotBefore, c.NotAfter, c.SANs = leaf.Issuer.CommonName, leaf.NotBefore.UTC(), leaf.NotAfter.UTC(), sans(leaf)
	if len(chain) > 1 && leaf.IsCA {
		c.For += fmt.Sprintf("; one of %d in its file", len(chain))
	}
	if !e.time.Before(leaf.NotAfter) {
		c.Problem = "it has expired: run `supervisor certs renew " + name + "`, or have it signed again if its CA's key is elsewhere"
	}
	return c
}

func sans(c *x509.Certificate) []string {
	var all []string
	for _, name := range c.DNSNames {
		all = append(all, "DNS:"+name)
	}
	for _, ip := range c.IPAddresses {
		all = append(all, "IP:"+ip.String())
	}
	for _, uri := range c.URIs {
		all = append(all, "URI:"+uri.String())
	}
	return all
}

// purposes are those of what has a name of its own.
var purposes = map[string]string{
	caName:               "signs for the secure port, for clients of the API and for kubelets",
	frontProxyCAName:     "signs for who may speak for others to aggregated API servers",
	internalCAName:       "signs for the processes among themselves",
	etcdCAName:           "signs for etcd and its clients",
	apiserverName:        "the secure port, to clients",
	kubeletClientName:    "core, to kubelets",
	frontProxyClientName: "aggregator, to aggregated API servers",
	etcdServerName:       "etcd, to its clients",
	etcdClientName:       "people, to etcd",
}

func purposeOf(name string) string {
	if known, ok := purposes[name]; ok {
		return known
	}
	base := filepath.Base(name)
	for suffix, what := range map[string]string{
		"-serving": "to who calls it", "-self": "to other processes, as itself", "-delegation": "to the next tier, for its clients", "-client": "to etcd",
	} {
		if who, ok := strings.CutSuffix(base, suffix); ok {
			return who + ", " + what
		}
	}
	return ""
}
