# shellcheck shell=bash
# What every service of the native stack needs: folders, remembered settings, and processes that are really ours.

say() { printf '%s\n' "$*"; }
warn() { printf 'native: %s\n' "$*" >&2; }
die() { warn "$*"; exit 1; }

is_root() { (( EUID == 0 )); }

need() { # need COMMAND REMEDY
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing: $2"
}

checkout_hash() { printf '%s' "$1" | sha256sum | cut -c1-12; }

default_stack_dir() { # Root's checkout may lie where the unprivileged postgres cannot reach it.
    if is_root; then say "${TMPDIR:-/tmp}/evp-stack-$(checkout_hash "$CHECKOUT")"; else say "$CHECKOUT/.evp-stack"; fi
}

default_cache_dir() { # Binaries of the cache are executed by another user when root runs the stack.
    if is_root; then say /var/cache/evp; else say "${XDG_CACHE_HOME:-$HOME/.cache}/evp"; fi
}

check_machine() {
    [[ $(uname -s) == Linux ]] || die "the native stack runs on Linux only: install Docker and use 'make up' instead"
    case $(uname -m) in
        x86_64) MACHINE=amd64 ;;
        aarch64) MACHINE=arm64v8 ;;
        *) die "no server binaries are published for $(uname -m): use Docker and 'make up' instead" ;;
    esac
    need setsid "install the package util-linux"
    need flock "install the package util-linux"
    need ps "install the package procps"
    need python3 "install Python 3.8 or newer (Debian, Ubuntu: apt install python3 python3-pip)"
}

check_java() {
    need java "install a Java runtime, 17 or newer (Debian, Ubuntu: apt install openjdk-17-jre-headless)"
    local version
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [[ ${version:-0} -ge 17 ]] || die "java is version ${version:-unknown} and Kafka needs 17 or newer: install openjdk-17-jre-headless and put it first in PATH"
}

prepare_stack_dir() {
    mkdir -p "$STACK"/{config,data,logs,pids,settings}
    # A folder made by mktemp is closed to the unprivileged postgres.
    if is_root; then chmod 711 "$STACK" "$STACK/data"; fi
}

with_stack_lock() { # Two commands at once on one instance would start its servers twice.
    prepare_stack_dir
    exec 9>"$STACK/lock"
    flock -w 300 9 || die "another command has held $STACK/lock for five minutes: wait for it, or end it"
}

# --- settings: environment first, then what this instance remembers, then the default ---

setting() { # setting NAME [DEFAULT]
    local file=$STACK/settings/$1
    if [[ -n ${!1-} ]]; then say "${!1}"; elif [[ -f $file ]]; then cat "$file"; else say "${2-}"; fi
}

remember() { # remember NAME DEFAULT: settles a setting, so that stop and start keep it
    local value
    value=$(setting "$1" "${2-}")
    printf '%s\n' "$value" >"$STACK/settings/$1"
}

remember_port() { # remember_port NAME
    local port
    port=$(setting "$1")
    if [[ -z $port ]]; then port=$(probe free-port) || die "no free port was found: set $1"; fi
    [[ $port =~ ^[0-9]+$ ]] || die "$1=$port is not a port: give a number, or unset it to have one chosen"
    printf '%s\n' "$port" >"$STACK/settings/$1"
}

probe() { python3 "$LIB/probe.py" "$@"; }

# --- processes ---

started_at() { # The start time in clock ticks tells a process from a later one with the same number.
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # Fields after the command name, which is in brackets and may hold blanks: state is the 1st, start time the 20th.
    stat=${stat##*) }
    # shellcheck disable=SC2086
    set -- $stat
    [[ $1 != Z ]] && say "${20}"
}

pid_of() { # pid_of SERVICE: prints the process id if the process of the pid file still is the one that was started
    local pid started
    read -r pid started 2>/dev/null <"$STACK/pids/$1" || return 1
    [[ $(started_at "$pid") == "$started" ]] && say "$pid"
}

running() { pid_of "$1" >/dev/null; }

launch() { # launch SERVICE COMMAND…: in a session of its own, so that an interrupt at the terminal does not reach it
    local service=$1 pid
    shift
    setsid "$@" </dev/null >>"$STACK/logs/$service.log" 2>&1 9>&- &
    pid=$!
    printf '%s %s\n' "$pid" "$(started_at "$pid")" >"$STACK/pids/$service"
    disown "$pid"
}

family() { # family PID: the process and its children; backends of PostgreSQL outlive a killed parent for a moment
    say "$1"
    ps -o pid= --ppid "$1" 2>/dev/null || true
}

signal_family() { # signal_family SIGNAL SERVICE
    local pid
    local -a pids
    pid=$(pid_of "$2") || die "$2 is not running: start it with 'compose/native start $2'"
    mapfile -t pids < <(family "$pid")
    # shellcheck disable=SC2086
    kill -s "$1" ${pids[*]} 2>/dev/null || true
    SIGNALLED=("${pids[@]//[[:space:]]/}")
}

await_gone() { # await_gone SERVICE SECONDS
    local deadline=$((SECONDS + $2))
    while running "$1"; do
        (( SECONDS < deadline )) || return 1
        sleep 0.1
    done
    rm -f "$STACK/pids/$1"
}

kill_service() {
    signal_family KILL "$1"
    local pid
    for pid in "${SIGNALLED[@]}"; do
        while started_at "$pid" >/dev/null; do sleep 0.02; done
    done
    rm -f "$STACK/pids/$1"
}

ask_to_stop() { # An orderly stop; PostgreSQL's "fast" one is SIGINT.
    local pid signal=TERM
    pid=$(pid_of "$1") || { rm -f "$STACK/pids/$1"; return 0; }
    [[ $1 == postgres ]] && signal=INT
    kill -s "$signal" "$pid" 2>/dev/null || true
    # A paused process only sees its signal once it runs again.
    mapfile -t pids < <(family "$pid")
    # shellcheck disable=SC2048,SC2086
    kill -s CONT ${pids[*]} 2>/dev/null || true
}

stop_services() { # stop_services SERVICE…: all are asked first, so that their waits overlap
    local service
    for service in "$@"; do ask_to_stop "$service"; done
    for service in "$@"; do
        if ! await_gone "$service" "$STOP_SECONDS"; then
            warn "$service did not stop within $STOP_SECONDS s and is killed"
            kill_service "$service"
        fi
    done
}

show_log_tail() { # show_log_tail SERVICE LINES
    [[ -s $STACK/logs/$1.log ]] || { warn "$1 wrote no log"; return 0; }
    warn "last lines of $STACK/logs/$1.log:"
    tail -n "$2" "$STACK/logs/$1.log" | sed 's/^/    /' >&2
}

await_ready() { # await_ready SERVICE SECONDS: the service's own probe decides, and its death ends the wait
    local service=$1 deadline=$((SECONDS + $2))
    until "${service}_ready" 2>/dev/null; do
        if ! running "$service"; then warn "$service ended while starting"; return 1; fi
        if (( SECONDS >= deadline )); then warn "$service was not ready within $2 s"; return 1; fi
        sleep 0.2
    done
}
