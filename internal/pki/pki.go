// Package pki makes, renews and checks the certificates and keys of a data
// directory. Each tier gets its own and no others; every CA signs for one
// purpose, so that no certificate opens a door it was not made for:
//
//	ca               the secure port; clients of the API; kubelets
//	front-proxy-ca   who may speak for others to aggregated API servers
//	etcd/ca          etcd and its clients
//	internal/ca      the hops between the tiers; never trusted on the public port
//
// What the user puts in place is used and never overwritten: a CA (ca.crt and
// ca.key, or ca.crt alone with everything it has to sign), a key pair for
// service accounts, leaves that an external CA signed.
package pki

import (
	"fmt"
	"net"
	"os"
	"time"

	"triptych.dev/triptych/internal/datadir"
)

const day = 24 * time.Hour

const (
	// caLifetime and leafLifetime are kubeadm's.
	caLifetime   = 10 * 365 * day
	leafLifetime = 365 * day
	// renewBefore: a leaf with less left is renewed, at the start or while the supervisor runs.
	renewBefore = 30 * day
	// warnCABefore leaves time to replace a CA, which has to be distributed.
	warnCABefore = 180 * day
	// backdate is kubeadm's: clocks of nodes may be a little behind.
	backdate = 5 * time.Minute

	// DefaultValidity is how long what processes show to one another is good for, MinValidity the least that leaves
	// time to replace it. It is replaced when a third of it is left.
	DefaultValidity, MinValidity = 24 * time.Hour, 30 * time.Second
)

// Options tells Ensure what is wanted, and what the user brings.
type Options struct {
	Dir datadir.Dir
	// Hosts are further names or addresses under which clients reach the secure port.
	Hosts []string
	// ServiceIPs are those of the Service "kubernetes".
	ServiceIPs []net.IP
	// Clock is time.Now if nil.
	Clock func() time.Time
	// ClientCAFile is the user's CA bundle for clients of the API. The CA in
	// the data directory still signs for the secure port and for kubelets.
	ClientCAFile string
	// TLSCertFile and TLSKeyFile replace apiserver.crt and .key.
	TLSCertFile, TLSKeyFile string
	// ServiceAccountKeyFiles and ServiceAccountSigningKeyFile replace sa.pub and
	// sa.key.
	ServiceAccountKeyFiles       []string
	ServiceAccountSigningKeyFile string
	// Pairs and CAs are what else the user's flags name. It is checked.
	Pairs []GivenPair
	CAs   []GivenCAs
	// EmbeddedEtcd asks for etcd's CA, server and client certificates.
	EmbeddedEtcd bool
	// Validity is how long the leaves that processes show to one another and to that etcd are good for; 0 is
	// DefaultValidity.
	Validity time.Duration
	// Elsewhere: other hosts trust the internal CA too, so that its rotation is not ended by one alone.
	Elsewhere bool
}

func (o Options) validity() time.Duration {
	if o.Validity == 0 {
		return DefaultValidity
	}
	return o.Validity
}

func (o Options) now() time.Time {
	if o.Clock == nil {
		return time.Now()
	}
	return o.Clock()
}

// Report is what Ensure did and found.
type Report struct {
	// Created are paths of files that were missing.
	Created []string
	// Renewed are certificates that were signed again.
	Renewed []Renewal
	// Warnings are whole sentences for the user: what runs out, what will not
	// work, and what to do.
	Warnings []string
	// Expires is when the first of the leaves runs out. Due is when the first of those that are ours is to be
	// replaced, zero if none is.
	Expires, Due time.Time
}

// Renewal is a certificate that was signed again, and why.
type Renewal struct{ File, Reason string }

// Lines returns the report as log lines.
func (r *Report) Lines() []string {
	var lines []string
	for _, file := range r.Created {
		lines = append(lines, "created "+file)
	}
	for _, renewal := range r.Renewed {
		lines = append(lines, fmt.Sprintf("renewed %s: %s", renewal.File, renewal.Reason))
	}
	for _, warning := range r.Warnings {
		lines = append(lines, "warning: "+warning)
	}
	return lines
}

func (r *Report) warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// Ensure leaves a complete and valid PKI in the data directory, which must be
// open and locked, or returns one error that names the file and the remedy. It
// can be interrupted at any point and called again.
func Ensure(o Options) (*Report, error) {
	e := &ensurer{Options: o, paths: Paths{o.Dir}, time: o.now(), report: &Report{}}
	if err := e.ensure(); err != nil {
		return nil, fmt.Errorf("cannot prepare the certificates: %w", err)
	}
	return e.report, nil
}

// ensurer is one run of Ensure.
type ensurer struct {
	Options
	paths  Paths
	time   time.Time
	report *Report
	// force tells which leaves are renewed though there is no need; nil is none.
	force func(name string) bool
}

func (e *ensurer) ensure() error {
	if err := e.checkGiven(); err != nil {
		return err
	}
	if err := e.ensureServiceAccount(); err != nil {
		return err
	}
	if err := e.continueRotation(); err != nil {
		return err
	}
	if err := e.ensureAll(); err != nil {
		return err
	}
	return e.checkClientCATrustsUs()
}

func (e *ensurer) ensureAll() error {
	leaves, err := e.leaves()
	if err != nil {
		return err
	}
	for _, a := range authorities(e.EmbeddedEtcd) {
		ca, err := e.ensureAuthority(a)
		if err != nil {
			return err
		}
		for _, l := range leaves[a.name] {
			if err := e.ensureLeaf(ca, l); err != nil {
				return err
			}
		}
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Stat(path)
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return true, nil
}
