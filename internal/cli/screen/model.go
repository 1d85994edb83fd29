package screen

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"triptych.dev/triptych/internal/supervisor/vitals"
)

// patience bounds a sample: a supervisor that does not answer is one to tell of.
const patience = 10 * time.Second

// Options are what a screen shows.
type Options struct {
	// Sampler takes the samples, Interval is the time between two of them.
	Sampler  *vitals.Sampler
	Interval time.Duration
	// First are samples that were taken already, the latest last; the screen begins with that.
	First vitals.Sample
	// Events and Logs are the latest lines, the newest last, of a tier, a replica or etcd. They may take their time.
	Events, Logs func(of string) ([]string, error)
	// Explain makes an error of the sampler one that users understand.
	Explain func(error) error
}

// pane is what is shown below the table.
type pane int

const (
	noPane pane = iota
	eventsPane
	logsPane
)

// model is the state of the screen; see package tea for who calls its methods.
type model struct {
	Options
	now func() time.Time

	width, height int
	sample        vitals.Sample
	// err is why there is no newer sample, since when.
	err   error
	since time.Time
	// asleep: no sample is on its way, because the screen is paused.
	paused, asleep bool

	// selected is the name of a row, so that it stays at the process when rows move.
	selected string
	// sorted is the title of the column that all processes are sorted by; empty is by tiers.
	sorted string
	help   bool

	pane  pane
	lines []string
	// paneOf is of what lines are; back is how many of the newest are below the pane.
	paneOf  string
	paneErr error
	back    int
}

// sampled is the outcome of taking a sample.
type sampled struct {
	sample vitals.Sample
	err    error
}

// due says that it is time for the next one.
type due struct{}

// read is the outcome of reading events or logs.
type read struct {
	pane  pane
	of    string
	lines []string
	err   error
}

func newModel(o Options) *model {
	m := &model{Options: o, now: time.Now, width: 80, height: 24, sample: o.First}
	if rows := m.rows(); len(rows) > 0 {
		m.selected = rows[0].name
	}
	return m
}

// Init implements tea.Model.
func (m *model) Init() tea.Cmd { return m.wait() }

func (m *model) wait() tea.Cmd {
	return tea.Tick(m.Interval, func(time.Time) tea.Msg { return due{} })
}

func (m *model) take() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := m.Sampler.Sample(ctx)
	return sampled{s, err}
}

// Update implements tea.Model.
func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case due:
		if m.paused {
			m.asleep = true
			return m, nil
		}
		return m, m.take
	case sampled:
		m.accept(msg)
		return m, tea.Batch(m.wait(), m.readPane())
	case read:
		if msg.pane == m.pane && msg.of == m.selected {
			if m.paneOf != msg.of {
				m.back = 0
			}
			m.lines, m.paneErr, m.paneOf = msg.lines, msg.err, msg.of
			m.scroll(0)
		}
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// accept takes the outcome of a sample over.
func (m *model) accept(s sampled) {
	if s.err != nil {
		if m.err == nil {
			m.since = m.now()
		}
		m.err = s.err
		return
	}
	m.sample, m.err = s.sample, nil
	if rows := m.rows(); m.at(rows) < 0 && len(rows) > 0 { // what was selected is gone
		m.selected = rows[0].name
	}
}

// press does what a key stands for.
func (m *model) press(key string) tea.Cmd {
	if m.help {
		m.help = false
		if key != "q" && key != "ctrl+c" {
			return nil
		}
	}
	switch key {
	case "q", "ctrl+c":
		return tea.Quit
	case "ctrl+z":
		return tea.Suspend
	case "?", "h":
		m.help = true
	case "up", "k":
		return m.selectBy(-1)
	case "down", "j":
		return m.selectBy(1)
	case "home", "g":
		return m.selectBy(-len(m.rows()))
	case "end", "G":
		return m.selectBy(len(m.rows()))
	case "s":
		m.sortByNext()
	case "e":
		return m.open(eventsPane)
	case "l":
		return m.open(logsPane)
	case "esc":
		m.pane = noPane
	case "pgup", "u", "b":
		m.scroll(m.paneHeight() - 1)
	case "pgdown", "d", "f":
		m.scroll(1 - m.paneHeight())
	case "space":
		m.paused = !m.paused
		if !m.paused && m.asleep {
			m.asleep = false
			return m.take
		}
	}
	return nil
}

// rows are the lines of the table in their order.
func (m *model) rows() []row {
	if m.sorted == "" {
		return rowsOf(m.sample)
	}
	by := columns[slices.IndexFunc(columns, func(c column) bool { return c.title == m.sorted })]
	var rows []row
	for _, r := range rowsOf(m.sample) {
		if !r.tier {
			r.indent = 0
			rows = append(rows, r)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(by.key(b), by.key(a)) })
	return rows
}

// at is where the selected row is, or -1.
func (m *model) at(rows []row) int {
	return slices.IndexFunc(rows, func(r row) bool { return r.name == m.selected })
}

func (m *model) selectBy(n int) tea.Cmd {
	rows := m.rows()
	if len(rows) == 0 {
		return nil
	}
	m.selected = rows[min(max(m.at(rows)+n, 0), len(rows)-1)].name
	return m.readPane()
}

// sortByNext sorts by the next column that can be sorted by and is shown, and after the last by tiers again.
func (m *model) sortByNext() {
	titles := []string{""}
	for _, c := range shown(m.width) {
		if c.key != nil {
			titles = append(titles, c.title)
		}
	}
	m.sorted = titles[(slices.Index(titles, m.sorted)+1)%len(titles)] // 0 if it is not shown any more
	if rows := m.rows(); m.at(rows) < 0 && len(rows) > 0 {
		m.selected = rows[0].name
	}
}

// open shows a pane, or closes it if it is shown.
func (m *model) open(p pane) tea.Cmd {
	if m.pane == p {
		m.pane = noPane
		return nil
	}
	m.pane, m.lines, m.paneErr, m.paneOf, m.back = p, nil, nil, "", 0
	return m.readPane()
}

// readPane reads again what the pane shows.
func (m *model) readPane() tea.Cmd {
	from := map[pane]func(string) ([]string, error){eventsPane: m.Events, logsPane: m.Logs}[m.pane]
	if from == nil || m.paused && m.paneOf == m.selected {
		return nil
	}
	p, of := m.pane, m.selected
	return func() tea.Msg {
		lines, err := from(of)
		for i, line := range lines {
			lines[i] = printable(line)
		}
		return read{p, of, lines, err}
	}
}

// scroll moves the pane to n older lines.
func (m *model) scroll(n int) {
	m.back = max(min(m.back+n, len(m.lines)-m.paneHeight()), 0)
}

// printable takes out what a terminal would act on: logs have in them what clients have sent.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, line)
}
