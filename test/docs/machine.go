package docs

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"triptych.dev/triptych/test/harness"
)

// said is what became of a block: what it printed, each line of it as the shell read it
// before what that printed, and how long it took.
type said struct {
	block  block
	output []string
	took   time.Duration
}

// prologue makes a machine of its own. $1 is a folder for what is written.
const prologue = `set -eE -o pipefail
exec 2>&1
trap 'code=$?; { set +v; } 2>/dev/null; [ $code = 0 ] || echo "##failed $code"' EXIT
ip link set lo up
ip link add eth0 type veth peer name beyond
ip addr add 192.0.2.10/24 dev eth0
ip link set beyond up
ip link set eth0 up
ip route add default via 192.0.2.1
mount --make-rprivate /
cp -a /etc "$1/etc"
mkdir -p "$1"/{root,usr-local/bin,usr-local/lib,var-lib,opt} "$1/root/triptych"
for folder in etc root usr-local var-lib opt; do chmod 755 "$1/$folder"; mount --bind "$1/$folder" "/${folder/-//}"; done
mkdir -p /etc/triptych
ln -s "$2" /root/triptych/bin
ln -s "$2/kubectl" /usr/local/bin/kubectl
export HOME=/root
unset KUBECONFIG
path=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
supervisor=$2/supervisor
settle() { # waits until what runs on data directory $1 is ready, if anything does: a block does not go on while another is digested
    ! "$supervisor" status --alive --data-dir "$1" > /dev/null 2>&1 || "$supervisor" health --wait --timeout 5m --data-dir "$1" > /dev/null
}
`

// patience is how long all pages of a test may take: on an idle machine it is a minute or two.
const patience = 15 * time.Minute

var dataDir = regexp.MustCompile(`--data-dir[ =](\S+)`)

// script is all blocks of pages as one shell script. Blocks are files in dir.
func script(dir string, pages []page) (string, []block, error) {
	var b strings.Builder
	var all []block
	b.WriteString(prologue)
	for _, p := range pages {
		folder, main := "/root", "/var/lib/triptych"
		if !strings.HasPrefix(p.name, "docs/how-to") {
			folder, main = "/root/triptych", "run"
		}
		if p.name == "README.md" {
			folder = "/root/readme"
			fmt.Fprintf(&b, "mkdir %s && ln -s %s %[1]s/bin\n", folder, harness.BinDir())
		}
		fmt.Fprintf(&b, "cd %s\n", folder)
		if strings.HasPrefix(p.name, "docs/how-to") {
			b.WriteString("unset KUBECONFIG; export PATH=$path\n")
		}
		for _, block := range p.blocks {
			if block.lang != "sh" || block.notRun != "" {
				continue
			}
			file := filepath.Join(dir, strconv.Itoa(len(all))+".sh")
			if err := os.WriteFile(file, []byte("set -v\n"+block.text+"{ code=$?; set +v; } 2>/dev/null; return $code\n"), 0o644); err != nil {
				return "", nil, err
			}
			fmt.Fprintf(&b, "settle %s\n%s\necho \"##block %d $EPOCHREALTIME\"\n", main, block.before, len(all))
			switch {
			case block.foreground:
				at := "/var/lib/triptych"
				if named := dataDir.FindStringSubmatch(block.text); named != nil {
					at = named[1]
				}
				fmt.Fprintf(&b, "source %s > %[1]s.out 2>&1 &\n", file)
				fmt.Fprintf(&b, "code=0; \"$supervisor\" health --wait --timeout 5m --data-dir %s > /dev/null || code=$?; cat %s.out; [ $code = 0 ]\n", at, file)
			case block.exit != 0:
				fmt.Fprintf(&b, "set +e; source %s; code=$?; set -e; [ $code = %d ] || { echo \"##exits with $code\"; false; }\n", file, block.exit)
			default:
				fmt.Fprintf(&b, "source %s\n", file)
			}
			all = append(all, block)
		}
	}
	b.WriteString("echo \"##block end $EPOCHREALTIME\"\n")
	return b.String(), all, nil
}

// play runs the blocks of pages to the first that fails, which the error names with what was printed.
// dir is an empty folder. It needs root.
func play(ctx context.Context, dir string, pages []page) ([]said, error) {
	text, blocks, err := script(dir, pages)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "all.sh")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child", "bash", file, dir, harness.BinDir())
	output, err := cmd.CombinedOutput()
	all := heard(output, blocks)
	if err != nil {
		last, printed := "before the first block", string(output)
		if len(all) > 0 {
			last, printed = all[len(all)-1].block.String(), strings.Join(all[len(all)-1].output, "\n")
		}
		return all, fmt.Errorf("%s: %w:\n%s", last, err, printed)
	}
	return all, nil
}

// heard splits what the script has printed at its marks.
func heard(output []byte, blocks []block) (all []said) {
	var began float64
	lines := bufio.NewScanner(bytes.NewReader(output))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		line := lines.Text()
		if mark, ok := strings.CutPrefix(line, "##block "); ok {
			name, at, _ := strings.Cut(mark, " ")
			now, _ := strconv.ParseFloat(at, 64)
			if len(all) > 0 {
				all[len(all)-1].took = time.Duration((now - began) * float64(time.Second))
			}
			began = now
			if i, err := strconv.Atoi(name); err == nil {
				all = append(all, said{block: blocks[i]})
			}
		} else if len(all) > 0 && !strings.HasPrefix(line, "{ code=$?; set +v; }") {
			all[len(all)-1].output = append(all[len(all)-1].output, line)
		}
	}
	return all
}
