package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nxadm/tail"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/supervisor/events"
	"triptych.dev/triptych/internal/supervisor/logline"
	"triptych.dev/triptych/internal/tier"
)

// supervisorLog is the name of the supervisor's own log.
const supervisorLog = "supervisor"

// maxLogLine bounds a line that is read; what is longer is printed in pieces.
const maxLogLine = 1 << 20

func (c *command) logs() *cobra.Command {
	var (
		p           logPrinter
		since, grep string
		only        []string
	)
	names := append(children(), supervisorLog)
	cmd := &cobra.Command{
		Use:   "logs [TIER]",
		Short: "Print the logs of all processes in the order of time, or of one tier",
		Long: `Print the logs of all processes in the order of time, with the process before each line, or that of one tier as it
is. TIER is ` + join(names) + `. What was rotated away and is still
there counts. Works whether or not a supervisor is running.`,
		Example:           "  supervisor logs --since 10m --grep 'error|timeout' --tier core,extensions\n  supervisor logs -f core",
		ValidArgsFunction: c.completeRunning(supervisorLog),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return oneOf(names)(nil, args)
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			d, err := c.dir()
			if err != nil {
				return err
			}
			if p.output != "" && p.output != "json" {
				return usageError{fmt.Errorf("--output=%s is not known: want json", p.output)}
			}
			if p.from, err = moment(since); err != nil {
				return err
			}
			if p.fits, err = regexp.Compile(grep); err != nil {
				return usageError{fmt.Errorf("--grep is no regular expression: %w", err)}
			}
			p.to, p.bare = c.stdout, len(args) > 0 && len(only) == 0
			wanted := slices.Concat(args, only)
			if len(wanted) == 0 {
				wanted = names
			}
			p.replicas = events.Replicas(d.Events())
			files := map[string]bool{}
			for _, name := range wanted {
				file, err := logOf(name, names)
				if err != nil {
					return err
				}
				files[file] = true
				p.of = append(p.of, name)
			}
			return p.print(cmd.Context(), d, files)
		},
	}
	c.addDataDir(cmd)
	cmd.Flags().StringVarP(&p.output, "output", "o", "", "format: json, an object a line")
	addSince(cmd, &since)
	cmd.Flags().StringVar(&grep, "grep", "", "only lines that this regular expression fits")
	cmd.Flags().StringSliceVar(&only, "tier", nil, "only of these: tiers, replicas, etcd, supervisor")
	_ = cmd.RegisterFlagCompletionFunc("tier", c.completeRunning(supervisorLog))
	cmd.Flags().BoolVarP(&p.follow, "follow", "f", false, "go on with what is logged from now on")
	return cmd
}

// logOf is the name of the log that a tier, or a replica of it, writes into.
func logOf(name string, names []string) (string, error) {
	for _, of := range tier.Order {
		if strings.HasPrefix(name, string(of)+"-") {
			return string(of), nil
		}
	}
	return name, known(name, names)
}

// logPrinter prints lines that are wanted.
type logPrinter struct {
	output string
	follow bool
	// bare: without the process before each line.
	bare bool
	from time.Time
	fits *regexp.Regexp
	// of are names of tiers and replicas.
	of       []string
	replicas map[int]string

	mu sync.Mutex
	to io.Writer
}

// logSource reads one log, with what was rotated away before.
type logSource struct {
	tier  string
	files []string
	open  *os.File
	lines *bufio.Reader
	// read counts bytes of the file that is open.
	read   int64
	labels *logline.Labeler
	// follow: a line without its end is left to who follows.
	follow bool
}

// print merges by time: each source is in order by itself.
func (p *logPrinter) print(ctx context.Context, d datadir.Dir, names map[string]bool) error {
	var sources []*logSource
	heads := map[*logSource]*logline.Line{}
	for name := range names {
		s := newLogSource(d, name, p.replicas)
		s.follow = p.follow
		defer s.close()
		sources = append(sources, s)
	}
	slices.SortFunc(sources, func(a, b *logSource) int { return strings.Compare(a.tier, b.tier) })
	advance := func(s *logSource) error {
		line, err := s.next()
		heads[s] = line
		return err
	}
	for _, s := range sources {
		if err := advance(s); err != nil {
			return err
		}
	}
	for ctx.Err() == nil {
		var first *logSource
		for _, s := range sources {
			if heads[s] != nil && (first == nil || heads[s].Time.Before(heads[first].Time)) {
				first = s
			}
		}
		if first == nil {
			break
		}
		if err := p.line(*heads[first]); err != nil {
			return err
		}
		if err := advance(first); err != nil {
			return err
		}
	}
	if !p.follow {
		return ctx.Err()
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		group.Go(func() error { return p.followed(ctx, d.LogFile(s.tier), s) })
	}
	return group.Wait()
}

func newLogSource(d datadir.Dir, name string, replicas map[int]string) *logSource {
	path := d.LogFile(name)
	ending := filepath.Ext(path)
	rotated, _ := filepath.Glob(strings.TrimSuffix(path, ending) + "-*" + ending) // the pattern is good
	slices.Sort(rotated)
	return &logSource{tier: name, files: append(rotated, path), labels: logline.NewLabeler(name, replicas)}
}

func (s *logSource) close() {
	if s.open != nil {
		s.open.Close()
	}
}

// next returns the next line, nil after the last.
func (s *logSource) next() (*logline.Line, error) {
	for {
		if s.lines == nil {
			if len(s.files) == 0 {
				return nil, nil
			}
			f, err := os.Open(s.files[0])
			s.files = s.files[1:]
			if errors.Is(err, fs.ErrNotExist) {
				continue // that process never ran
			}
			if err != nil {
				return nil, fmt.Errorf("cannot read the log: %w", err)
			}
			s.close()
			s.open, s.lines, s.read = f, bufio.NewReaderSize(f, 1<<16), 0
		}
		text, err := s.readLine()
		if s.follow && errors.Is(err, io.EOF) && len(s.files) == 0 {
			s.read -= int64(len(text))
			text = ""
		}
		if text != "" {
			line := s.labels.Label(strings.TrimRight(text, "\r\n"), time.Now())
			return &line, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("cannot read the log: %w", err)
		}
		if err != nil {
			s.lines = nil
		}
	}
}

// readLine returns a line with its end, or what there is of one.
func (s *logSource) readLine() (string, error) {
	var b strings.Builder
	for b.Len() < maxLogLine {
		part, err := s.lines.ReadSlice('\n')
		b.Write(part)
		s.read += int64(len(part))
		if !errors.Is(err, bufio.ErrBufferFull) {
			return b.String(), err
		}
	}
	return b.String(), nil
}

func (p *logPrinter) wanted(l logline.Line) bool {
	if l.Time.Before(p.from) || !p.fits.MatchString(l.Line) {
		return false
	}
	return slices.ContainsFunc(p.of, func(name string) bool { return name == l.Tier || name == l.Replica })
}

func (p *logPrinter) line(l logline.Line) error {
	if !p.wanted(l) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.output == "json" {
		return json.NewEncoder(p.to).Encode(l)
	}
	said := l.Line
	if !p.bare && !strings.HasPrefix(said, logline.Prefix) { // an object says itself whose it is
		who := l.Replica
		if who == "" {
			who = l.Tier
		}
		said = fmt.Sprintf("%-12s | %s", who, said)
	}
	_, err := io.WriteString(p.to, said+"\n")
	return err
}

// followed goes on where the source has ended, and with the new file when the log is rotated.
func (p *logPrinter) followed(ctx context.Context, path string, s *logSource) error {
	config := tail.Config{Follow: true, ReOpen: true, Logger: tail.DiscardingLogger}
	if s.open != nil {
		config.Location = &tail.SeekInfo{Offset: s.read, Whence: io.SeekStart}
	}
	t, err := tail.TailFile(path, config)
	if err != nil {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	defer t.Cleanup()
	for {
		select {
		case line, more := <-t.Lines:
			if !more {
				return t.Wait() // Err would race with the end
			}
			if err := p.line(s.labels.Label(line.Text, time.Now())); err != nil {
				return err
			}
		case <-ctx.Done():
			return t.Stop()
		}
	}
}
