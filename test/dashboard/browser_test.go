package dashboard

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"triptych.dev/triptych/test/harness"
)

// A browser starts in seconds, on a machine that is busy in a minute or two.
const browserBound = 3 * time.Minute

// browser is a headless Chromium with an empty profile.
func browser(t *testing.T) context.Context {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Fatal("there is no Chromium: install the package chromium, for example by apt-get install chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.UserDataDir(filepath.Join(harness.TempDir(t), "profile")), chromedp.WSURLReadTimeout(browserBound),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("no-sandbox", os.Geteuid() == 0))
	allocated, end := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(end)
	// The browser lives as long as its first context, which t.Context would end before it is waited for.
	first, _ := chromedp.NewContext(context.WithoutCancel(allocated))
	t.Cleanup(func() { _ = chromedp.Cancel(first) })
	if err := chromedp.Do(first); err != nil {
		t.Fatalf("cannot start %s: %v", path, err)
	}
	return first
}

// tab is one page, and what its browser complains about.
type tab struct {
	context.Context

	mu         sync.Mutex
	complaints []string
}

// open opens a tab of its own profile: it has no cookies of others.
func open(t *testing.T, browser context.Context) *tab {
	t.Helper()
	ctx, end := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(end)
	p := &tab{Context: ctx}
	p.do(t)
	if err := chromedp.Listen(ctx, p.note); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// note keeps an event if it is a complaint.
func (p *tab) note(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch event := event.(type) {
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, fmt.Sprintf("%+v", event.ExceptionDetails))
	case *runtime.EventConsoleAPICalled:
		if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
			p.complaints = append(p.complaints, fmt.Sprintf("console.%s", event.Type))
		}
	case *log.EventEntryAdded:
		if event.Entry.Level == log.EntryLevelError || event.Entry.Level == log.EntryLevelWarning {
			p.complaints = append(p.complaints, event.Entry.Text+" "+event.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if event.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			p.complaints = append(p.complaints, "a violation of the Content-Security-Policy")
		}
	}
}

func (p *tab) do(t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	get(t, p, chromedp.Steps(steps...))
}

// get runs an action within browserBound.
func get[T any](t *testing.T, p *tab, action chromedp.Action[T]) T {
	t.Helper()
	ctx := p.Context
	if chromedp.FromContext(ctx).Target != nil { // the first one opens the tab, which would end with its bound
		bounded, cancel := context.WithTimeout(ctx, browserBound)
		defer cancel()
		ctx = bounded
	}
	value, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// text is all that is seen of the page.
func (p *tab) text(t *testing.T) string {
	t.Helper()
	return get(t, p, chromedp.Evaluate[string]("document.documentElement.innerText"))
}

// seen is what the page shows of the control plane.
type seen struct {
	Phase, Away, Events, Logs string
	Rows                      map[string]struct{ Stage, Restarts string }
}

const look = `({
	Phase: document.getElementById('phase').textContent,
	Away: document.getElementById('away').hidden ? '' : document.getElementById('away').textContent,
	Events: document.getElementById('events').innerText,
	Logs: document.getElementById('logs').textContent,
	Rows: Object.fromEntries([...document.querySelectorAll('tr[data-replica]')].map(tr => [tr.dataset.replica, {
		Stage: tr.querySelector('[data-label=Stage]').textContent,
		Restarts: tr.querySelector('[data-label=Restarts]').textContent,
	}])),
})`

// until waits until the page shows what it should.
func (p *tab) until(t *testing.T, what string, cond func(seen) bool) {
	t.Helper()
	harness.Eventually(t, harness.StartBound, what, func() error {
		s := get(t, p, chromedp.Evaluate[seen](look))
		if !cond(s) {
			return fmt.Errorf("phase %q, away %q, %d bytes of events, %d of logs, %v", s.Phase, s.Away, len(s.Events), len(s.Logs), s.Rows)
		}
		return nil
	})
}

// allReady has three rows, or more.
func allReady(s seen) bool {
	for _, name := range []string{"aggregator-0", "core-0", "extensions-0"} {
		if s.Rows[name].Stage != "ready" {
			return false
		}
	}
	return s.Phase == "Ready" && s.Away == ""
}

// screenshot writes what is seen into bin, and fails if one must scroll sideways for a part of it.
func (p *tab) screenshot(t *testing.T, name string, width, height int64) {
	t.Helper()
	p.do(t, chromedp.EmulateViewport(width, height))
	wide := get(t, p, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
	out := get(t, p, chromedp.Evaluate[[]string](`[...document.body.querySelectorAll('*')].filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)`+
		`.map(e => e.tagName + ' ' + e.textContent.slice(0, 40))`))
	image := get(t, p, chromedp.FullScreenshot(100))
	if wide > width || len(out) > 0 {
		t.Errorf("at %d pixels the page is %d wide; out of sight: %q", width, wide, out)
	}
	if err := os.WriteFile(filepath.Join(harness.BinDir(), name), image, 0o600); err != nil {
		t.Error(err)
	}
}

// links are those that were printed.
func links(of *harness.Process) (all []string) {
	for _, word := range strings.Fields(of.Output.String()) {
		if strings.HasPrefix(word, "http://") {
			all = append(all, word)
		}
	}
	return all
}

// link waits for the nth link that is printed.
func link(t *testing.T, of *harness.Process, n int) string {
	t.Helper()
	harness.Eventually(t, time.Minute, fmt.Sprintf("link %d is printed", n), func() error {
		if len(links(of)) < n {
			return fmt.Errorf("printed: %s", of.Output.String())
		}
		return nil
	})
	return links(of)[n-1]
}

// Whoever opens the link sees at 1280 pixels and on a phone how each process does, and that one was restarted after it was
// killed; whoever does not is shown nothing.
func TestABrowserShowsWhatGoesOn(t *testing.T) {
	first := browser(t)
	c := harness.Run(t, harness.Options{})
	d, err := harness.StartProcess(9, nil, harness.Bin("supervisor"), "dashboard", "--data-dir", c.Dir, "--listen", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.End(time.Minute); err != nil {
			t.Error(err)
		}
	})
	url := link(t, d, 1)
	base, _, _ := strings.Cut(url, "/open/")
	shownNothing := func(what, url string) {
		t.Helper()
		p := open(t, first)
		p.do(t, chromedp.Navigate(url))
		if text := p.text(t); !strings.Contains(text, "Open the link") || strings.Contains(text, "core") || strings.Contains(text, "Triptych") {
			t.Errorf("%s shows %q", what, text)
		}
	}
	shownNothing("the page without a link", base+"/")
	shownNothing("a wrong link", url+"x")

	p := open(t, first)
	p.do(t, chromedp.EmulateViewport(1280, 800), chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("#processes")))
	p.until(t, "all processes are shown ready", allReady)
	p.until(t, "events and logs are shown", func(s seen) bool { return strings.Contains(s.Events, "core-0") && strings.Contains(s.Logs, "core-0") })
	shownNothing("the link once more", url)

	if err := killed(c); err != nil {
		t.Fatal(err)
	}
	p.until(t, "core is shown restarted", func(s seen) bool { return s.Rows["core-0"].Restarts == "1" && allReady(s) })
	p.screenshot(t, "dashboard-1280x800.png", 1280, 800)
	p.screenshot(t, "dashboard-360x740.png", 360, 740)

	p.do(t, chromedp.SendKeys(chromedp.CSS("#grep"), "("))
	harness.Eventually(t, time.Minute, "a wrong pattern is told", func() error {
		if said := get(t, p, chromedp.TextContent(chromedp.CSS("#mistake"))); !strings.Contains(said, "missing closing") {
			return fmt.Errorf("%q", said)
		}
		return nil
	})
	p.mu.Lock()
	// That the pattern is wrong is an answer of 400, and Chromium notes each of those.
	complaints := slices.DeleteFunc(slices.Clone(p.complaints), func(c string) bool { return strings.Contains(c, "400") && strings.Contains(c, "api/logs") })
	p.mu.Unlock()
	for _, complaint := range complaints {
		t.Errorf("the browser complains: %s", complaint)
	}

	another := open(t, first)
	another.do(t, chromedp.Navigate(link(t, d, 2)), chromedp.WaitVisible(chromedp.CSS("#processes")))
	another.until(t, "the next link lets another browser in", allReady)
	if _, said, code := c.Supervisor(t.Context(), "stop"); code != 0 { // Cluster.Stop would find the dashboard left
		t.Fatalf("stop exits with %d: %s", code, said)
	}
	p.until(t, "the supervisor is shown away, with what was known", func(s seen) bool {
		return s.Phase == "Away" && strings.Contains(s.Away, "no supervisor is running") && s.Rows["core-0"].Restarts == "1"
	})
}
