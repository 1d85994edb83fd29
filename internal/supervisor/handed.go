package supervisor

import (
	"fmt"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// renewPause is the time between two looks at the files that processes have copies of, for those whose folders
// tell of no change.
const renewPause = time.Second

// renew renews the copies that processes have. What changed is told, and an error, which changes nothing.
func (s *setup) renew(say func(string)) {
	for name, folder := range s.apart.folders {
		changed, err := folder.Renew()
		if err != nil {
			say(fmt.Sprintf("%s: cannot be handed a file: %v", name, folder.Original(err.Error())))
		}
		if len(changed) > 0 {
			say(fmt.Sprintf("%s: handed anew %s", name, strings.Join(changed, ", ")))
		}
	}
}

// follow renews the copies until stop is called. What is the same as before is not told again.
func (s *setup) follow(p *printer) (stop func()) {
	done, gone, last := make(chan struct{}), make(chan struct{}), ""
	say := func(line string) {
		if line != last {
			p.Say("%s", line)
		}
		last = line
	}
	go func() {
		defer close(gone)
		tick := time.NewTicker(renewPause)
		defer tick.Stop()
		news, closeNews := s.watchOriginals()
		defer closeNews()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			case <-news:
			}
			s.renew(say)
		}
	}()
	return func() { close(done); <-gone }
}

// watchOriginals tells of changes in the folders of the files that processes have copies of. Without it
// renewPause does.
func (s *setup) watchOriginals() (news <-chan fsnotify.Event, stop func()) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, func() {}
	}
	go func() {
		for range w.Errors { // an overflow: renewPause does
		}
	}()
	for _, folder := range s.apart.folders {
		for _, path := range folder.Origins() {
			if path != s.dir.Run() { // our own, told by who writes there
				_ = w.Add(path)
			}
		}
	}
	return w.Events, func() { w.Close() }
}
