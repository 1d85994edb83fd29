package supervisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/pki"
)

const (
	// glance is the time between two looks at the clock, which may be set, and stands still while a machine sleeps.
	glance = time.Second
	// tellPause is the time between two attempts to have a process take up its certificates.
	tellPause = 200 * time.Millisecond
	// takeUpBudget is how long a step of a rotation waits for that.
	takeUpBudget = time.Minute
)

// renewals is how the certificates stand.
type renewals struct {
	one sync.Mutex // held by who writes certificates

	mu      sync.Mutex
	due     time.Time // zero if nothing is
	problem string    // why they are not renewed, or not taken up; empty if they are
}

func (r *renewals) report(due time.Time, err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.problem
	if r.problem = ""; err != nil {
		r.problem = err.Error()
	}
	if err == nil {
		r.due = due
	}
	return r.problem != before
}

func (r *renewals) now() (due time.Time, problem string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.due, r.problem
}

// renewPauseOf is the time between two attempts to renew certificates: there are many before one ends.
func renewPauseOf(validity time.Duration) time.Duration { return min(validity/60, time.Minute) }

// followCertificates renews certificates when they are due, to the end of the chain.
func (v *Supervisor) followCertificates() error {
	v.renewals.report(v.setup.report.Due, nil)
	ctx, cancel := v.untilDone()
	defer cancel()
	v.renewals.follow(clock.RealClock{}, v.chain.done, renewPauseOf(v.setup.options.CertValidity), func() { _, _ = v.renew(ctx, nil) })
	return nil
}

// follow calls renew, which reports, when something is due, and again after pause while there is a problem, until done.
func (r *renewals) follow(by clock.WithTicker, done <-chan struct{}, pause time.Duration, renew func()) {
	tick := by.NewTicker(glance)
	defer tick.Stop()
	for last := (time.Time{}); ; {
		select {
		case <-done:
			return
		case <-tick.C():
		}
		due, problem := r.now()
		now := by.Now().Round(0) // what the clock on the wall says
		if (problem == "" && (due.IsZero() || now.Before(due))) || now.Sub(last).Abs() < pause {
			continue
		}
		last = now
		renew()
	}
}

// untilDone is a context that ends with the chain.
func (v *Supervisor) untilDone() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-v.chain.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// renew renews what is due or forced, and has everybody go by it. It returns the names of what was renewed.
func (v *Supervisor) renew(ctx context.Context, force func(string) bool) ([]string, error) {
	v.renewals.one.Lock()
	defer v.renewals.one.Unlock()
	o, err := v.setup.pkiOptions()
	var done *pki.Report
	if err == nil {
		done, err = pki.Renew(o, force)
	}
	if err == nil {
		err = pki.WriteAdminKubeconfig(o, v.setup.url)
	}
	var names []string
	if err == nil {
		names = v.namesOf(done)
		err = v.takeUp(ctx)
	}
	var due time.Time
	if done != nil {
		due = done.Due
	}
	if v.renewals.report(due, err) && err != nil {
		v.print.Say("certificates: %v", err)
	} else if err == nil && len(names) > 0 {
		v.print.Say("certificates: renewed %s", strings.Join(names, ", "))
	}
	return names, err
}

func (v *Supervisor) namesOf(r *pki.Report) []string {
	var names []string
	name := func(file string) string {
		return strings.TrimSuffix(strings.TrimPrefix(file, v.setup.dir.PKI()+"/"), ".crt")
	}
	for _, renewal := range r.Renewed {
		names = append(names, name(renewal.File))
	}
	for _, file := range r.Created {
		if strings.HasSuffix(file, ".crt") {
			names = append(names, name(file))
		}
	}
	return names
}

// takeUp returns when all processes here go by what the files hold now. Without that after a while it says who does not.
func (v *Supervisor) takeUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, takeUpBudget)
	defer cancel()
	for {
		err := v.setup.papers.reload()
		if err == nil {
			v.front.refresh()
			v.setup.renew(func(string) {})
			var failed map[string]error
			if failed, err = v.tell(ctx, ""); err == nil && len(failed) == 0 {
				v.setup.elsewhere.Reconnect(ctx)
				return nil
			}
			for _, who := range slices.Sorted(maps.Keys(failed)) {
				err = fmt.Errorf("%s does not take up its new certificates: %w", who, failed[who])
				break
			}
		}
		select {
		case <-time.After(tellPause):
		case <-ctx.Done():
			return err
		}
	}
}

// Certificates implements control.Supervisor.
func (v *Supervisor) Certificates() ([]pki.Certificate, error) {
	v.renewals.one.Lock()
	defer v.renewals.one.Unlock()
	o, err := v.setup.pkiOptions()
	if err != nil {
		return nil, err
	}
	return pki.List(o)
}

// RenewCertificates implements control.Supervisor.
func (v *Supervisor) RenewCertificates(ctx context.Context, names []string, all bool) ([]string, error) {
	o, err := v.setup.pkiOptions()
	if err != nil {
		return nil, err
	}
	known, err := pki.Names(o)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no certificate %q to renew: `supervisor certs list` names them", name)
		}
	}
	return v.renew(ctx, func(name string) bool { return all || slices.Contains(names, name) })
}

// RotateCA implements control.Supervisor.
func (v *Supervisor) RotateCA(ctx context.Context, r control.CARotation) error {
	switch {
	case v.setup.options.PKIFrom != "":
		return fmt.Errorf("the internal CA is that of --pki-from %s, which is yours and is not changed: put a new internal/ca.crt and internal/ca.key there "+
			"and remove those of the data directories, with all hosts stopped", v.setup.options.PKIFrom)
	case v.setup.sharesCA() && r.Step == "":
		return fmt.Errorf("processes of other hosts trust this CA too: run --step %s here, copy pki/internal/next-ca.crt and .key to the same place on the others and run it there, "+
			"then --step %s on all hosts, then --step %s on all hosts", pki.Trust, pki.Sign, pki.Drop)
	}
	steps := pki.Steps
	if r.Step != "" {
		steps = []pki.Step{r.Step}
	}
	release, err := v.reshaping(ctx)
	if err != nil {
		return err
	}
	defer release()
	v.renewals.one.Lock()
	defer v.renewals.one.Unlock()
	for _, step := range steps {
		if err := v.rotate(ctx, step, r.Now); err != nil {
			return fmt.Errorf("%w: it is not over; run the same again to go on, or restart the supervisor, which ends it", err)
		}
		v.print.Say("certificates: the internal CA is being replaced: %s is done", step)
	}
	return nil
}

func (v *Supervisor) rotate(ctx context.Context, step pki.Step, now bool) error {
	o, err := v.setup.pkiOptions()
	if err != nil {
		return err
	}
	done, err := pki.Rotate(o, step)
	if err != nil {
		return err
	}
	if step == pki.Sign {
		v.renewals.report(done.Due, nil)
	}
	if step == pki.Drop && now {
		v.setup.cut.Store(true)
		defer v.setup.cut.Store(false)
	}
	if err = v.takeUp(ctx); err != nil {
		due, _ := v.renewals.now()
		v.renewals.report(due, err) // and tried again
	}
	return err
}

// certificatesStatus says when the first of them ends.
func (v *Supervisor) certificatesStatus() control.Certificates {
	due, problem := v.renewals.now()
	s := control.Certificates{Problem: problem}
	if !due.IsZero() {
		due = due.UTC()
		s.RenewedAt = &due
	}
	o, err := v.setup.pkiOptions()
	if err != nil {
		return s
	}
	all, err := pki.List(o)
	if err != nil {
		return s
	}
	for _, c := range all {
		if !c.NotAfter.IsZero() && (s.FirstEnd == nil || c.NotAfter.Before(*s.FirstEnd)) {
			end := c.NotAfter
			s.FirstEnd, s.First = &end, c.Name
		}
		if c.Problem != "" && s.Problem == "" {
			s.Problem = c.Name + ": " + c.Problem
		}
	}
	if step, err := pki.NextStep(v.setup.dir); err == nil && step != "" {
		s.RotationStep = string(step)
	}
	return s
}
