# shellcheck shell=bash
# A private Docker engine for one run of the tests. Sourced after common.sh.
#
# It lives in network, mount and process namespaces of its own: its docker0, its iptables rules, its mounts and its
# containers are nobody else's, any number of engines run side by side, and all of it is gone with its first process,
# which the kernel ends when the script that started it is gone. What is left then, the directory and empty control
# groups, is removed here or by the next run.

engine_base="/tmp/cloudai-tests-$(id -u)"
engine_dir=
engine_pid=

# Starts the engine and sets engine_dir; its socket is $engine_dir/docker.sock.
engine_start() {
    install_docker
    have ip || apt_install iproute2
    (umask 077 && mkdir -p "$engine_base")
    [ -O "$engine_base" ] || die "$engine_base belongs to somebody else: remove it and start again"

    # The lock says that a directory is in use; it falls when this script ends, in whatever way.
    exec 8>"$engine_base/lock"
    flock 8
    engine_remove_stale
    engine_dir=$(mktemp -d "$engine_base/engine.XXXXXX")
    exec 9>"$engine_dir/lock"
    flock 9
    flock -u 8

    printf '{}\n' >"$engine_dir/daemon.json"
    # With this program in its PATH the engine takes GPUs for granted, and tells each container which it has; the real one
    # would put their devices into it.
    mkdir "$engine_dir/bin"
    printf '#!/bin/sh\nexit 0\n' >"$engine_dir/bin/nvidia-container-runtime-hook"
    chmod +x "$engine_dir/bin/nvidia-container-runtime-hook"
    local command=(setpriv --pdeathsig KILL)
    # Started without a shell between: it has to notice the end of this one.
    [ "$(id -u)" = 0 ] || command=(sudo -- "${command[@]}")
    "${command[@]}" unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc \
        bash -c "$(declare -f engine_main); engine_main $(printf '%q %q' "$engine_dir" "$(id -gn)")" \
        >"$engine_dir/log" 2>&1 8>&- 9>&- </dev/null &
    engine_pid=$!
    printf '%s\n' "$engine_pid" >"$engine_dir/pid"
    if ! wait_for 60 engine_settled || ! engine_answers >/dev/null 2>&1; then
        printf '%s\n' "-- the end of $engine_dir/log:" >&2
        tail -n 40 "$engine_dir/log" >&2
        die "the Docker engine of the tests does not start; the tests need it, so none was run"
    fi
}

# The first process of the namespaces. /run is hidden because dockerd would use a containerd that it finds there.
engine_main() {
    local dir=$1 group=$2
    mount -t tmpfs tmpfs /run
    ip link set lo up
    PATH="$dir/bin:$PATH" exec dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
        --pidfile "$dir/docker.pid" --host "unix://$dir/docker.sock" --group "$group" \
        --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/cloudai-tests-${dir##*.}"
}

# engine_net COMMAND...: runs it in the network of the engine, so that the tests' registries can be reached from there,
# and the ports of two runs side by side are two different ports. There is no way out of it.
engine_net() {
    local command=(nsenter --net="/proc/$engine_pid/ns/net" --)
    if [ "$(id -u)" = 0 ]; then
        "${command[@]}" "$@"
    else
        sudo --preserve-env -- "${command[@]}" setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups \
            env PATH="$PATH" HOME="$HOME" "$@"
    fi
}

engine_answers() {
    DOCKER_HOST="unix://$engine_dir/docker.sock" docker version
}

# An engine that has ended is not waited for.
engine_settled() {
    engine_answers || [ ! -d "/proc/$engine_pid" ]
}

engine_stop() {
    [ -n "$engine_dir" ] || return 0
    engine_remove "$engine_dir"
}

# Directories of runs that were killed: nobody holds their lock.
engine_remove_stale() {
    local dir
    for dir in "$engine_base"/engine.*; do
        [ -d "$dir" ] || continue
        if (flock -n 7) 7>>"$dir/lock"; then engine_remove "$dir"; fi
    done
}

# With the first process of the namespaces every container dies; each holds its control groups until it has.
engine_remove() {
    local dir=$1 pid=
    [ ! -s "$dir/pid" ] || read -r pid <"$dir/pid"
    if [ -n "$pid" ] && runs "$pid" "$dir"; then
        as_root kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    fi
    wait_for 20 engine_cgroups_removed "${dir##*.}" || say "control groups cloudai-tests-${dir##*.} could not be removed"
    as_root rm -rf --one-file-system "$dir"
}

engine_cgroups_removed() {
    local group
    for group in "/sys/fs/cgroup/cloudai-tests-$1" "/sys/fs/cgroup/"*"/cloudai-tests-$1"; do
        [ -d "$group" ] || continue
        as_root find "$group" -depth -type d -exec rmdir {} +
        [ ! -d "$group" ] || return 1
    done
}
