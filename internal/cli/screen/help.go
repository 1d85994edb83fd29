package screen

import "strings"

// help fits a screen of 80x24.
const help = `supervisor top: what each process does, between this look and the one before

  ↑ ↓ j k      select a process           space    pause, and go on
  e            its events, newest last    l        its log, newest last
  pgup pgdn    older and newer lines      esc      close events or log
  s            sort by the next column    q        quit

  STAGE   configured, constructed, prepared, ready, draining; backoff, failed
  REQ/S   requests answered here in a second, without watches, exec and the like
  ERR/S   those of them that were answered by 5xx
  P99     99 of 100 of them took no longer
  INFL    being answered      WATCH   open watches
  FWD/S   handed to another tier in a second, watches too
  HOP     p99 of the way from the tier before to here
  ETCD    p99 of the calls to etcd
  CPU%    100 is one CPU      MEM   resident memory, with shared pages
  FILES   open files          THR   threads
  RST     restarts            UP    age of the process
  -       not known, or nothing to measure`

func helpLines() []string { return strings.Split(help, "\n") }
