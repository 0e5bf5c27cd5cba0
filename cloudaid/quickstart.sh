#!/usr/bin/env bash
# quickstart.sh: from a fresh Debian or Ubuntu to the output of a container task, in one go.
#
# Installs what is missing, starts a Docker engine if none answers, builds, starts `cloudaid dev` (a master and a worker
# in one process), runs a task and downloads its output. A second call uses what is there. It may be told:
#   CLOUDAI_HTTP, CLOUDAI_GRPC   addresses to listen on (127.0.0.1:8080 and 127.0.0.1:50051)
#   CLOUDAI_DATA_DIR             where cloudaid dev keeps its data (~/.local/share/cloudai/dev)
#   CLOUDAI_QUICKSTART_IMAGE     the image to run
#   DOCKER_HOST                  the engine to use, as unix:///path/to/socket
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tests/sh/common.sh
. tests/sh/common.sh

http=${CLOUDAI_HTTP:-127.0.0.1:8080}
grpc=${CLOUDAI_GRPC:-127.0.0.1:50051}
state="${XDG_DATA_HOME:-$HOME/.local/share}/cloudai"
data=${CLOUDAI_DATA_DIR:-$state/dev}
bin="${CARGO_TARGET_DIR:-$root/target}/debug"
log="$state/quickstart.log"
# Process id and addresses of the cloudaid dev that this script started.
dev_file="$state/quickstart.dev"
sample_image=cloudai-sample/busybox:1
started=()
# They would send cloudctl to another cluster.
unset CLOUDCTL_SERVER CLOUDCTL_TOKEN CLOUDCTL_CONTEXT

main() {
    mkdir -p "$state"
    ensure_engine
    ensure_compiler
    say "building (a few minutes at the first time)"
    cargo build --workspace --bins --locked
    ensure_dev
    choose_image
    run_task
    report
}

# --- the Docker engine

# An engine is one that answers; a client alone is none.
ensure_engine() {
    in_docker_group=()
    engine=${DOCKER_HOST:-}
    [ -n "$engine" ] || ! have docker || engine=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || true
    [ -n "$engine" ] || engine=unix:///var/run/docker.sock
    case $engine in
        unix://*) ;;
        *) die "the worker talks to the Docker engine over a unix socket, not $engine: set DOCKER_HOST=unix:///path" ;;
    esac
    have docker || install_docker
    if find_access; then
        say "using the Docker engine at $engine"
        return
    fi
    [ -z "${DOCKER_HOST:-}" ] || die "no Docker engine answers at DOCKER_HOST=$engine: start it, or unset DOCKER_HOST"
    engine=unix:///var/run/docker.sock
    install_docker
    # The package may have started it.
    wait_for 3 find_access || start_engine
    find_access || die "the Docker engine started, but this user cannot reach it: run this as root"
}

# Sets in_docker_group to what a plain user has to put before a program that talks to the engine.
find_access() {
    local try
    in_docker_group=()
    if docker -H "$engine" version; then return; fi
    [ "$(id -u)" != 0 ] && have sudo || return 1
    try=(sudo -u "$(id -un)" -g docker --)
    "${try[@]}" docker -H "$engine" version || return 1
    in_docker_group=("${try[@]}")
} >/dev/null 2>&1

start_engine() {
    if [ -d /run/systemd/system ]; then
        say "starting the Docker engine: systemctl start docker"
        as_root systemctl start docker || die "see: journalctl -u docker"
        wait_for 60 find_access || die "the Docker engine does not answer; see: journalctl -u docker"
        started+=("the Docker engine; stop it, as root, with: systemctl stop docker")
        return
    fi
    if have service; then
        say "starting the Docker engine: service docker start"
        if as_root service docker start >&2 && wait_for 20 find_access; then
            started+=("the Docker engine; stop it, as root, with: service docker stop")
            return
        fi
        as_root service docker stop >/dev/null 2>&1 || true
    fi
    say "starting the Docker engine: dockerd, its log is $state/dockerd.log"
    local command=(setsid nohup dockerd)
    [ "$(id -u)" = 0 ] || command=(sudo -- "${command[@]}")
    "${command[@]}" >"$state/dockerd.log" 2>&1 </dev/null &
    if ! wait_for 60 find_access; then
        tail -n 20 "$state/dockerd.log" >&2
        die "the Docker engine does not start; the end of its log is above"
    fi
    started+=("the Docker engine; stop it, as root, with: kill \$(cat /var/run/docker.pid)")
}

# --- the compiler

ensure_compiler() {
    local needed toolchain=stable
    { have cc && have make; } || apt_install build-essential
    needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
    have cargo || PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
    ! rust_is "$needed" || return 0
    if ! have rustup; then
        say "installing rustup: Rust $needed is needed, and Debian's own is older"
        as_root apt-get -q update >&2 || true
        if apt-cache show rustup >/dev/null 2>&1; then
            apt_install rustup
        else
            have curl || apt_install curl ca-certificates
            curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
                sh -s -- -y -q --profile minimal --no-modify-path ||
                die "rustup could not be installed: install Rust $needed or newer by hand, see https://rustup.rs"
            PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
        fi
    fi
    # The user's default stays what it is.
    export RUSTUP_TOOLCHAIN=$toolchain
    rust_is "$needed" || rustup toolchain install --profile minimal "$toolchain" ||
        die "rustup could not install Rust $needed or newer"
    rust_is "$needed" || die "Rust $needed or newer is needed, and $(rustc --version) was found"
}

# Whether cargo is there and at least of this version.
rust_is() {
    local found
    found=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || return 1
    [ -n "$found" ] && printf '%s\n' "$1" "$found" | sort -V -C
}

# --- cloudaid dev

cloudctl() { "$bin/cloudctl" --context dev "$@"; }

dev_answers() { cloudctl status >/dev/null 2>&1; }

ensure_dev() {
    if dev_answers; then
        say "using the cloudaid dev that runs already"
        return
    fi
    check_free "$http" HTTP CLOUDAI_HTTP
    check_free "$grpc" gRPC CLOUDAI_GRPC
    say "starting cloudaid dev, its log is $log"
    local command=("$bin/cloudaid" dev --data-dir "$data" --http "$http" --grpc "$grpc" --docker-host "$engine")
    # sudo would drop it, and the context would be written elsewhere.
    command=(env "XDG_CONFIG_HOME=${XDG_CONFIG_HOME:-$HOME/.config}" "${command[@]}")
    setsid nohup "${in_docker_group[@]}" "${command[@]}" >>"$log" 2>&1 </dev/null &
    local pid=$!
    printf '%s\n' "$pid $http $grpc" >"$dev_file"
    dev_settled() { dev_answers || [ ! -d "/proc/$pid" ]; }
    if ! wait_for 60 dev_settled || ! dev_answers; then
        tail -n 20 "$log" >&2
        die "cloudaid dev does not start; the end of its log is above"
    fi
    started+=("cloudaid dev; stop it with: kill $pid")
}

# check_free ADDRESS WHAT VARIABLE
check_free() {
    local host=${1%:*} port=${1##*:}
    case $host in 0.0.0.0 | '[::]' | '') host=127.0.0.1 ;; esac
    if (exec 3<>"/dev/tcp/${host//[][]/}/$port") 2>/dev/null; then
        die "something else listens on $1. Give another address for $2: $3=127.0.0.1:$((port + 1)) $0"
    fi
}

# --- the task

docker_engine() { "${in_docker_group[@]}" docker -H "$engine" "$@"; }

has_image() { docker_engine image inspect "$1" >/dev/null 2>&1; }

choose_image() {
    image=${CLOUDAI_QUICKSTART_IMAGE:-}
    [ -z "$image" ] || return 0
    for image in busybox:latest "$sample_image"; do
        if has_image "$image"; then return; fi
    done
    image=busybox:latest
    say "pulling $image"
    if timeout 15 "${in_docker_group[@]}" docker -H "$engine" pull -q "$image" >&2; then return; fi
    image=$sample_image
    say "no registry can be reached: making $image from busybox-static"
    "${in_docker_group[@]}" env "DOCKER_HOST=$engine" tests/sh/busybox-image.sh "$image"
}

run_task() {
    # shellcheck disable=SC2016 # The shell of the container expands it.
    local script='echo "hello from $(hostname)"
for n in 1 2 3; do echo "step $n of 3"; sleep 1; done
echo "made in a container, $(date -u +%FT%TZ)" > /output/hello.txt'
    say "cloudctl task $image --name hello --cpu-cores 0.5 --mem 64MiB -- sh -c '...'"
    task=$(cloudctl task "$image" --name hello --cpu-cores 0.5 --mem 64MiB --output quiet -- sh -c "$script")
    say "cloudctl monitor $task"
    cloudctl monitor "$task"
    cloudctl wait "$task" --output quiet >/dev/null || die "the task failed; see: $bin/cloudctl show $task"
    results=$(mktemp -d "${TMPDIR:-/tmp}/cloudai-results.XXXXXX")
    say "cloudctl download $task $results"
    cloudctl download "$task" "$results"
    file=$(find "$results" -name hello.txt)
    [ -n "$file" ] || die "the task's output has no hello.txt; see: $bin/cloudctl task-files $task"
    say "$file:"
    cat "$file"
}

report() {
    local dev="cloudaid dev   not started by this script" pid address_http address_grpc what
    if [ -s "$dev_file" ] && read -r pid address_http address_grpc <"$dev_file" && runs "$pid" "cloudaid dev"; then
        dev="cloudaid dev   process $pid, HTTP $address_http, gRPC $address_grpc, data $data, log $log"
    fi
    printf '\n%s\n' "Done: a container ran as task $task, and its output is in $results."
    if [ ${#started[@]} -gt 0 ]; then
        printf '%s\n' "Started by this script:"
        for what in "${started[@]}"; do printf '  %s\n' "$what"; done
    fi
    cat <<END
Still running:
  $dev
  Docker engine  $engine
Go on:
  export PATH="$bin:\$PATH"
  cloudctl --context dev status
  cloudctl --context dev task $image --wait -- sh -c 'echo hi; echo data > /output/r.txt'
  cloudctl --help
Stop it:
  cloudctl --context dev shutdown --yes
Remove it: stop it, then
  rm -r $data $log $dev_file
END
}

main
