package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"triptych.dev/triptych/internal/auditlog"
	"triptych.dev/triptych/internal/custody"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/confine"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/supervisor/remote"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// setup is everything that must be in place before the first child starts. It
// is made step by step; close undoes the steps that were made, last one first.
type setup struct {
	options *options.Options
	// live are the options once the configuration was read again: what can change while
	// all goes on is read here.
	live atomic.Pointer[options.Options]
	// stale are the replicas that a change concerns which they do not know of.
	stale stale
	// scaled are the numbers of processes that supervisor scale has come to, by the name of the tier.
	scaled sync.Map
	// head is the tier with the secure port, here are the tiers of this host.
	head tier.Name
	here []tier.Name
	// releases are what the next process of each tier is started of. Who changes them
	// holds Supervisor.shape.
	releases map[tier.Name]release
	// memory is of the last upgrade, nil if there is none to tell of.
	memory atomic.Pointer[memory]
	// executable is the supervisor's own program, which is etcd's too.
	executable string
	environ    []string
	signals    <-chan os.Signal

	dir         datadir.Dir
	killed      bool // the supervisor before this one was
	elsewhere   *remote.Hosts
	sockets     *sockets
	plain       net.Listener // of the insecure port, nil if there is none
	metrics     net.Listener // of the supervisor's own metrics, nil if there are none
	pki         pki.Paths
	report      *pki.Report
	papers      papers
	cut         atomic.Bool // see wiring.PKI
	advertise   net.IP
	url         string
	etcdAddress string // empty with an etcd of the user's
	// snapshots is what heads tell of snapshots by schedule; nil if there is no schedule.
	snapshots atomic.Pointer[wiring.Snapshots]
	own       atomic.Pointer[wiring.Etcd] // the etcd of extensions alone; nil if there is none
	forker    *child.Forker
	apart     apart
	host      *confine.Host
	logs      map[string]*child.Log
	auditLog  *auditlog.Log // nil if there is none
	sshKey    string        // made by us; empty without SSH, and with a key of the user's
	told      []string      // more lines of the summary

	undo []func()
}

// errStopped: told to stop before there was anything to stop.
var errStopped = errors.New("told to stop")

// prepare makes a setup, or an error and nothing.
func prepare(o *options.Options, e Environment) (*setup, error) {
	s := &setup{
		options: o, head: o.Head(e.Environ), executable: e.Executable,
		environ: child.Environment(e.Environ), signals: e.Signals, logs: map[string]*child.Log{},
	}
	s.live.Store(o)
	s.here = o.Here(s.head)
	if err := o.CheckHosts(s.head); err != nil {
		return nil, process.ConfigurationError{Err: err}
	}
	if len(o.ExtensionsEtcd.Servers) > 0 {
		s.own.Store(&o.ExtensionsEtcd)
	}
	steps := []func() error{s.findPrograms, s.openDir, s.keepMemory, s.separate, s.listen, s.listenPlain, s.listenMetrics, s.ensurePKI, s.findHosts, s.prepareSSH, s.reserveEtcd, s.reachEtcd, s.writeWiring, s.openLogs, s.openAuditLog}
	for _, step := range steps {
		if err := step(); err != nil {
			s.close()
			return nil, err
		}
	}
	s.host = confine.NewHost()
	var err error
	if s.forker, err = child.NewForker(s.apart.ids != nil); err != nil {
		s.close()
		return nil, process.ConfigurationError{Err: fmt.Errorf("cannot prepare to start processes: %w", err)}
	}
	s.undo = append(s.undo, s.forker.Close)
	return s, nil
}

func (s *setup) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

func (s *setup) embedded() bool { return len(s.options.EtcdServers) == 0 }

func (s *setup) findPrograms() (err error) {
	dir, err := binDir(s.options.BinDir, s.executable)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	of, err := s.recall(dir)
	if err == nil {
		err = checkPrograms(s.here, of.dir)
	}
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	s.releases = map[tier.Name]release{}
	for _, name := range s.here {
		s.releases[name] = of
	}
	return nil
}

// openDir takes the lock, so that nothing after it can touch what another
// supervisor uses.
func (s *setup) openDir() error {
	h, err := datadir.Open(s.options.DataDir)
	if locked := (*datadir.LockedError)(nil); err != nil && !errors.As(err, &locked) {
		return process.ConfigurationError{Err: err}
	}
	if err != nil {
		return err
	}
	s.dir, s.pki, s.killed = h.Dir, pki.Paths{Dir: h.Dir}, h.Killed
	s.undo = append(s.undo, func() { h.Close() })
	if s.embedded() {
		if err := h.Unmoved(); err != nil {
			return process.ConfigurationError{Err: err}
		}
	}
	return nil
}

func (s *setup) listen() (err error) {
	open := func() (err error) {
		s.sockets, err = listenAll(s.options, s.dir, s.here, s.head)
		return err
	}
	if s.killed {
		err = untilSignal(s.signals, func(ctx context.Context) error { return afterPredecessor(ctx, predecessorBound, open) })
	} else {
		err = open()
	}
	if err != nil {
		return err
	}
	s.undo = append(s.undo, s.sockets.close)
	s.url = s.headURL()
	s.advertise, err = advertised(s.options, s.here, s.head)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	return nil
}

func (s *setup) ensurePKI() (err error) {
	o, err := s.pkiOptions()
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	if from := s.options.PKIFrom; from != "" {
		if err := pki.Adopt(s.dir, from); err != nil {
			return process.ConfigurationError{Err: fmt.Errorf("cannot use --pki-from %s: %w", from, err)}
		}
	}
	if s.report, err = pki.Ensure(o); err != nil {
		return process.ConfigurationError{Err: err}
	}
	if err := pki.WriteAdminKubeconfig(o, s.url); err != nil {
		return process.ConfigurationError{Err: err}
	}
	if s.papers, err = s.loadPapers(); err != nil {
		return process.ConfigurationError{Err: err}
	}
	return nil
}

func (s *setup) reserveEtcd() error {
	if !s.embedded() {
		return nil
	}
	r, err := etcd.Reserve("127.0.0.1")
	if err != nil {
		return err
	}
	s.etcdAddress = r.Address()
	s.undo = append(s.undo, func() { r.Close() })
	if id, ok := s.apart.ids[Etcd]; ok {
		return r.Give(id.UID, id.GID)
	}
	return nil
}

// reachEtcd finds out about an etcd of the user's before three tiers do, each in
// its own words and after a long wait. One that is behind an egress proxy of the
// tiers is left to them.
func (s *setup) reachEtcd() error {
	if s.options.Forwarded.Given("egress-selector-config-file") {
		return nil
	}
	var yours []etcd.Remote
	if !s.embedded() {
		yours = append(yours, userEtcd("etcd", s.mainEtcd(tier.Core)))
	}
	if own := s.own.Load(); own != nil {
		yours = append(yours, userEtcd("extensions-etcd", *own))
	}
	for _, r := range yours {
		if err := untilSignal(s.signals, r.Reach); err != nil {
			return err
		}
	}
	if s.embedded() {
		return nil
	}
	return untilSignal(s.signals, s.arrived)
}

// arrived refuses an etcd of the user's in which what there was is not all there yet, or no more.
func (s *setup) arrived(ctx context.Context) error {
	client, err := custody.Dial(s.mainEtcd(identity.Supervisor))
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	defer client.Close()
	err = custody.Arriving(ctx, client, s.etcdPrefix())
	switch {
	case errors.Is(err, custody.ErrArriving), errors.Is(err, custody.ErrLeft):
		return process.ConfigurationError{Err: fmt.Errorf("cannot use etcd at %s: %w", strings.Join(s.options.EtcdServers, ","), err)}
	case err != nil:
		s.told = append(s.told, "warning: "+err.Error())
	}
	return nil
}

// userEtcd is an etcd whose flags begin with prefix.
func userEtcd(prefix string, e wiring.Etcd) etcd.Remote {
	return etcd.Remote{Servers: e.Servers, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, FlagPrefix: prefix}
}

// untilSignal is for a wait before anybody else reads the signals. The one that
// cuts it short is spent: the caller must stop. All others are left.
func untilSignal(signals <-chan os.Signal, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- wait(ctx) }()
	select {
	case err := <-waited:
		return err
	case <-signals:
		cancel()
		<-waited
		return errStopped
	}
}

// writeWiring tells every replica where all others are, in the files that its next
// process reads, and its present one when it is told to.
func (s *setup) writeWiring() error {
	all := s.endpoints()
	for _, name := range s.here {
		for _, at := range wiring.Siblings(all[name]) {
			w := s.wiring(name, at.Replica)
			w.Tiers = all
			data, err := json.MarshalIndent(w, "", "  ")
			if err != nil {
				return fmt.Errorf("cannot write the wiring of %s: %w", at.Replica, err)
			}
			if err := datadir.WriteFile(s.dir.Wiring(at.Replica), append(data, '\n'), 0o600); err != nil {
				return fmt.Errorf("cannot write the wiring of %s: %w", at.Replica, err)
			}
		}
		if _, err := s.apart.folders[string(name)].Renew(); err != nil {
			return fmt.Errorf("cannot hand %s its wiring: %w", name, err)
		}
	}
	return nil
}

func (s *setup) wiring(name tier.Name, replica string) wiring.Wiring {
	var main *wiring.Etcd
	if name == tier.Extensions && s.own.Load() != nil {
		e := s.mainEtcd(name)
		main = &e
	}
	soft := int64(0)
	if !child.SetsMemoryLimit(s.environ) {
		soft = child.SoftLimit(s.live.Load().MemoryLimits[name])
	}
	listen, _ := s.sockets.listen(name, child.FirstFD)
	return wiring.Wiring{
		MainEtcd:        main,
		SoftMemoryLimit: soft,
		Tier:            name,
		Replica:         replica,
		Head:            s.head,
		Listen:          listen,
		Lifeline:        child.LifelineFD,
		AuditLog:        s.auditLogFD(name),
		PKI:             s.internal(name),
		Sandbox:         string(s.options.Sandbox),
		PublicAddress:   s.publicAddress(),
		PublishesHeads:  s.publishesHeads(),
		Snapshots:       s.snapshotWiring(name),
	}
}

func (s *setup) openLogs() error {
	for _, row := range rows(s.embedded(), s.here, s.head) {
		log := child.OpenLog(s.dir.LogFile(row.name))
		s.logs[row.name] = log
		s.undo = append(s.undo, func() { log.Close() })
	}
	return nil
}

// log returns where a replica's processes write: all of a tier write one file.
func (s *setup) log(name, replica string) *child.Log {
	log := s.logs[name].Another()
	if s.options.Logs().JSON {
		log.Label(name, replica)
	}
	return log
}

// summary tells what was made, without a line for each of many files.
func (s *setup) summary() []string {
	var lines []string
	if n := len(s.report.Created); n > 0 {
		lines = append(lines, fmt.Sprintf("pki: created %d files in %s", n, s.dir.PKI()))
	}
	for _, r := range s.report.Renewed {
		lines = append(lines, "pki: renewed "+strings.TrimPrefix(r.File, s.dir.Root+string(os.PathSeparator))+": "+r.Reason)
	}
	if s.head == tier.Core {
		lines = append(lines, "direct mode: core is the head, there is no aggregator and no APIService")
	}
	if s.advertise.IsLoopback() && !s.publishesHeads() {
		lines = append(lines, "warning: this machine has no address but loopback: the kubernetes Service gets no endpoint, so pods will not find the API")
	}
	if s.plain != nil {
		lines = append(lines, fmt.Sprintf("warning: --insecure-port makes everybody who can connect to %s an administrator", s.plain.Addr()))
	}
	if len(s.options.CPULimits) > 0 && !s.host.HoldsCPU() {
		lines = append(lines, "warning: --cpu-limit has no effect: the supervisor may divide no cgroup with the controller cpu: let it, such as by Delegate=cpu in its unit")
	}
	if url := s.metricsURL(); url != "" {
		lines = append(lines, "metrics of the supervisor: "+url)
	}
	for _, w := range s.report.Warnings {
		lines = append(lines, "warning: "+w)
	}
	if lacks := s.lacks(); len(lacks) > 0 {
		lines = append(lines, "warning: isolation: "+strings.Join(lacks, "; "))
	}
	return append(lines, s.told...)
}
