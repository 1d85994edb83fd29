package supervisor

import (
	"flag"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/grpclog"
	"gopkg.in/natefinch/lumberjack.v2"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/logs/json"
	"k8s.io/klog/v2"

	"triptych.dev/triptych/internal/supervisor/logline"
	"triptych.dev/triptych/internal/supervisor/options"
)

// printer tells what happens: on standard output for whoever watches, and in the
// supervisor's log with times. What libraries log goes to the log alone.
type printer struct {
	log *lumberjack.Logger
	mu  sync.Mutex
	// out and own are where lines go; as JSON, by way of a logline.Writer.
	out, own io.Writer
	json     bool
}

// self is what the supervisor is called in logs.
const self = "supervisor"

func newPrinter(out io.Writer, logFile string, o options.Logs) *printer {
	p := &printer{out: out, log: &lumberjack.Logger{Filename: logFile, MaxSize: 10, MaxBackups: 2}, json: o.JSON}
	p.own = p.log
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	klog.InitFlags(flags)
	_, _ = flags.Set("v", strconv.Itoa(o.Verbosity)), flags.Set("vmodule", o.VModule)
	klog.LogToStderr(false)
	if o.JSON {
		p.out, p.own = logline.New(out, self, self), &serial{to: logline.New(p.log, self, self)}
		logger, control := json.NewJSONLogger(logsapi.VerbosityLevel(o.Verbosity), json.AddNopSync(p.own), nil, nil)
		klog.SetLoggerWithOptions(logger, klog.FlushLogger(control.Flush))
	} else {
		klog.SetOutput(p.own)
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, p.own))
	return p
}

// serial is a writer for many.
type serial struct {
	mu sync.Mutex
	to io.Writer
}

// Write implements io.Writer.
func (s *serial) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Write(p)
}

// Say prints one line. That nobody reads any more is no reason to fail.
func (p *printer) Say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, line)
	if !p.json { // an object has a time
		line = time.Now().Format(time.RFC3339Nano) + " " + line
	}
	fmt.Fprintln(p.own, line)
}

// Close closes the log.
func (p *printer) Close() {
	klog.Flush()
	klog.ClearLogger()
	klog.SetOutput(io.Discard)
	p.log.Close()
}
