package supervisor

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/supervisor/lifecycle"
)

// printer tells what happens: on standard output for whoever watches, in the
// supervisor's log with times, and to systemd if that started us. What libraries
// log goes to the log alone.
type printer struct {
	out io.Writer
	log *lumberjack.Logger
	mu  sync.Mutex
}

func newPrinter(out io.Writer, logFile string) *printer {
	p := &printer{out: out, log: &lumberjack.Logger{Filename: logFile, MaxSize: 10, MaxBackups: 2}}
	klog.LogToStderr(false)
	klog.SetOutput(p.log)
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, p.log))
	return p
}

// Say prints one line. That nobody reads any more is no reason to fail.
func (p *printer) Say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, line)
	fmt.Fprintln(p.log, time.Now().Format(time.RFC3339Nano), line)
}

// Close closes the log.
func (p *printer) Close() {
	klog.Flush()
	klog.SetOutput(io.Discard)
	p.log.Close()
}

// notifyReady tells systemd that the service is up. Nothing happens where no
// NOTIFY_SOCKET is set; errors are systemd's to notice.
func (p *printer) notifyReady(status string) {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady+"\nSTATUS="+status)
}

func (p *printer) notifyPhase(phase lifecycle.Phase) {
	state := "STATUS=" + string(phase)
	if phase == lifecycle.PhaseStopping {
		state = daemon.SdNotifyStopping + "\n" + state
	}
	_, _ = daemon.SdNotify(false, state)
	p.Say("phase: %s", phase)
}
