# shellcheck shell=bash
# What the scripts of this repository share. Sourced, never run.

say() { printf '%s\n' "== $*" >&2; }

die() {
    printf '%s\n' "error: $*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Debian keeps daemons and network tools where a plain user's PATH does not look.
PATH="$PATH:/usr/sbin:/sbin"

# Runs a command as root: with sudo where needed.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo -- "$@"
    else
        die "this needs root: $*. Run the script as root, or install sudo."
    fi
}

# Installs Debian packages. The lists of packages are fetched only where the present ones do not do, and another apt
# that runs is waited for.
apt_install() {
    have apt-get || die "cannot install $*: there is no apt-get. Install it by hand and start again."
    say "installing $*"
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600)
    install+=(install --no-install-recommends "$@")
    as_root "${install[@]}" >&2 && return
    as_root apt-get -q -o DPkg::Lock::Timeout=600 update >&2
    as_root "${install[@]}" >&2 || die "apt-get could not install $*: see its message above"
}

# The engine and its client. Newer releases have the client in a package of its own.
install_docker() {
    local packages=(docker.io iptables ca-certificates)
    have dockerd && have docker && have iptables && return
    apt_install "${packages[@]}"
    have docker || apt_install docker-cli
    hash -r
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over.
wait_for() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}

# What a script has started and waits for. It is in the background, because bash runs no trap while it waits for a program
# in the foreground.
runner_pid=

# Ends as that has ended.
wait_for_runner() {
    local code=0
    wait "$runner_pid" || code=$?
    runner_pid=
    return "$code"
}

# at_end COMMAND: when the script ends, also by Ctrl-C or TERM, what it waits for is stopped, and then this is done.
at_end() {
    last_command=$1
    trap end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

end() {
    # Only once, and not interrupted by a second Ctrl-C.
    trap '' INT TERM
    trap - EXIT
    if [ -n "$runner_pid" ]; then
        kill -TERM "$runner_pid" 2>/dev/null || true
        wait "$runner_pid" 2>/dev/null || true
    fi
    "$last_command"
}

# runs PID TEXT: whether the process is there and has the text in its command line. Ids are used again, so an id alone
# says nothing.
runs() {
    { tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$2"; } 2>/dev/null
}
