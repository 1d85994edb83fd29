package screen

import (
	"fmt"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Colours are the terminal's own sixteen, so that they fit its background. Without colours (NO_COLOR, or a terminal that
// has none) bold and reverse are left, and the text says everything.
var (
	bold     = lipgloss.NewStyle().Bold(true)
	titles   = lipgloss.NewStyle().Bold(true).Underline(true)
	selected = lipgloss.NewStyle().Reverse(true)
	good     = lipgloss.NewStyle().Foreground(lipgloss.Green)
	warning  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
	bad      = lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true)
	faint    = lipgloss.NewStyle().Faint(true)
)

// View implements tea.Model.
func (m *model) View() tea.View {
	v := tea.NewView(strings.Join(m.frame(), "\n"))
	v.AltScreen = true
	return v
}

// frame is exactly as many lines as the screen has, none wider than it.
func (m *model) frame() []string {
	var top []string
	if m.help {
		top = helpLines()
	} else {
		top = m.above()
		top = append(top, m.table(max(m.height-len(top)-2-m.paneHeight(), 1))...)
		top = append(top, m.detail())
		top = append(top, m.below()...)
	}
	for len(top) < m.height-1 {
		top = append(top, "")
	}
	lines := append(top[:max(m.height-1, 0)], m.footer())
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, m.width, "…")
	}
	return lines
}

// above is what is said of the whole.
func (m *model) above() []string {
	sample := m.sample
	sample.Version, _, _ = strings.Cut(sample.Version, "+") // which build it is has no room
	about := heading(sample)
	about[0] = phaseStyle(m.sample.Phase).Render(m.sample.Phase) + strings.TrimPrefix(about[0], m.sample.Phase)
	if m.err != nil {
		why := strings.ReplaceAll(m.Explain(m.err).Error(), "\n", "; ")
		about = []string{
			bad.Render(fmt.Sprintf("AWAY for %s: %s", m.now().Sub(m.since).Round(time.Second), why)),
			faint.Render(fmt.Sprintf("looking again every %s; below is what was at %s", m.Interval, m.sample.Time.Local().Format(time.TimeOnly))),
		}
	}
	for _, note := range m.sample.Notes {
		about = append(about, warning.Render(note))
	}
	return append(about, "")
}

func phaseStyle(phase string) lipgloss.Style {
	switch phase {
	case "Ready":
		return good.Bold(true)
	case "Degraded":
		return bad
	}
	return warning.Bold(true)
}

// shown are the columns that the screen has room for.
func shown(width int) []column {
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return c.from > width })
}

// table is the titles and as many rows as fit, the selected among them.
func (m *model) table(height int) []string {
	columns, rows := shown(m.width), m.rows()
	last := &columns[len(columns)-1]
	if last.text { // it has what is left
		used := 0
		for _, c := range columns[:len(columns)-1] {
			used += c.width + 1
		}
		last.width = max(last.width, m.width-used)
	}
	var head []string
	for _, c := range columns {
		style := bold
		if c.title == m.sorted {
			style = titles
		}
		head = append(head, pad(c, style.Render(c.title)))
	}
	lines := []string{strings.Join(head, " ")}
	first := min(max(m.at(rows)-(height-2), 0), max(len(rows)-(height-1), 0))
	for _, r := range rows[first:min(first+height-1, len(rows))] {
		var cells []string
		for _, c := range columns {
			cell := c.cell(r)
			if r.name != m.selected && c.style != nil {
				cell = c.style(r).Render(cell)
			}
			cells = append(cells, pad(c, cell))
		}
		line := strings.Join(cells, " ")
		if r.name == m.selected {
			line = selected.Render(line + strings.Repeat(" ", max(m.width-ansi.StringWidth(line), 0)))
		}
		lines = append(lines, line)
	}
	return lines
}

// pad makes a cell as wide as its column.
func pad(c column, cell string) string {
	cell = ansi.Truncate(cell, c.width, "…")
	space := strings.Repeat(" ", max(c.width-ansi.StringWidth(cell), 0))
	if c.text {
		return cell + space
	}
	return space + cell
}

// detail is what the table has no room for, of the selected process.
func (m *model) detail() string {
	rows := m.rows()
	at := m.at(rows)
	if at < 0 {
		return ""
	}
	r := rows[at]
	said := []string{r.name}
	if r.pid != 0 {
		said = append(said, fmt.Sprintf("pid %d", r.pid))
	}
	if p := r.replica; p != nil {
		if p.Problem != "" {
			said = append(said, p.Problem)
		}
		if p.Remote {
			said = append(said, "on another host: its supervisor knows more")
		}
		if e := p.LastExit; e != nil {
			said = append(said, fmt.Sprintf("last exit %s %s", e.Time.Local().Format(time.TimeOnly), ending(e)))
		}
	}
	if r.load.ForwardP99Seconds != nil {
		said = append(said, "forwards p99 "+latency(r.load.ForwardP99Seconds))
	}
	if r.load.StorageP99Seconds != nil {
		said = append(said, "etcd p99 "+latency(r.load.StorageP99Seconds))
	}
	return faint.Render(strings.Join(said, " · "))
}

// paneHeight is how many lines of events or logs there are, with their title: what the table leaves, and about half of the
// screen at least.
func (m *model) paneHeight() int {
	if m.pane == noPane {
		return 0
	}
	return max(m.height/2-3, m.height-len(m.above())-len(m.rows())-3, 3)
}

// below is the pane with its title.
func (m *model) below() []string {
	if m.pane == noPane {
		return nil
	}
	what := map[pane]string{eventsPane: "EVENTS", logsPane: "LOG"}[m.pane]
	title := fmt.Sprintf("%s of %s", what, m.selected)
	if m.back > 0 {
		title += fmt.Sprintf(" (%d newer below: pgdn)", m.back)
	}
	lines := []string{bold.Render(title)}
	switch {
	case m.paneErr != nil:
		return append(lines, bad.Render(m.paneErr.Error()))
	case m.paneOf != m.selected:
		return append(lines, faint.Render("reading"))
	case len(m.lines) == 0:
		return append(lines, faint.Render("none"))
	}
	end := len(m.lines) - m.back
	return append(lines, m.lines[max(end-m.paneHeight()+1, 0):end]...)
}

// footer is the last line: the keys, and when the sample was taken.
func (m *model) footer() string {
	if m.help {
		return bold.Render("any key: back   q: quit")
	}
	keys := "q quit  ↑↓  s sort  e events  l log  space pause  ? help"
	state := m.sample.Time.Local().Format(time.TimeOnly)
	if m.sorted != "" {
		state = "by " + m.sorted + "  " + state
	}
	if m.paused {
		state = "PAUSED  " + state
	}
	if room := m.width - ansi.StringWidth(state) - 1; ansi.StringWidth(keys) > room {
		keys = ansi.Truncate(keys, max(room, 0), "…")
	}
	return faint.Render(keys) + strings.Repeat(" ", max(m.width-ansi.StringWidth(keys)-ansi.StringWidth(state), 1)) + bold.Render(state)
}
