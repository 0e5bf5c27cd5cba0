#!/usr/bin/env bash
# mortal-engine.sh DIRECTORY [live-restore] [disk=BYTES]: a Docker engine that dies and comes back as it is told on stdin:
# `kill` (and start again), `restart` (in good order), `down`, `up`, `pause`, `go-on`. It says `done` to each. When stdin ends, so does all of it. With
# `disk` its data are on a file system of their own of that size, which `fill` fills and `free` empties again.
#
# In namespaces of its own, like the engine of the tests, but not as their first process: its containers outlive it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/sh/common.sh
. "$root/tests/sh/common.sh"

dir=$1
shift
live_restore=false
disk=
for wish in "$@"; do
    case $wish in
    live-restore) live_restore=true ;;
    disk=*) disk=${wish#disk=} ;;
    *) die "unknown: $wish" ;;
    esac
done
parent=$(basename "$(dirname "${CLOUDAI_TEST_DOCKER:?run ./tests/run.sh}")")
mkdir -p "$dir"
printf '{"live-restore": %s}\n' "$live_restore" >"$dir/daemon.json"

# The first process of the namespaces.
mortal_main() {
    local dir=$1 group=$2 cgroup=$3 word pid=
    mount -t tmpfs tmpfs /run
    ip link set lo up
    up() {
        rm -f "$dir/docker.pid"
        dockerd --config-file "$dir/daemon.json" --data-root "$dir/data" --exec-root "$dir/exec" \
            --pidfile "$dir/docker.pid" --host "unix://$dir/docker.sock" --group "$group" \
            --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "$cgroup" >>"$dir/log" 2>&1 </dev/null &
        pid=$!
    }
    halt() {
        kill "-$1" "$pid"
        wait "$pid" || true
    }
    fill() {
        local free
        free=$(df --output=avail -B1 "$dir/data" | tail -n 1)
        # Most of it takes no time and no room below it, and then what is left.
        fallocate -l $((free - 8 * 1024 * 1024)) "$dir/data/filler"
        cat /dev/zero 2>/dev/null >"$dir/data/filler.rest" || true
    }
    up
    while read -r word; do
        case $word in
        kill) halt KILL && up ;;
        restart) halt TERM && up ;;
        down) halt KILL ;;
        up) up ;;
        pause) kill -STOP "$pid" ;;
        go-on) kill -CONT "$pid" ;;
        fill) fill ;;
        free) rm "$dir/data/filler" "$dir/data/filler.rest" ;;
        *) exit 2 ;;
        esac
        echo "done"
    done
}

# Called by a trap.
# shellcheck disable=SC2329
remove_disk() {
    ! mountpoint -q "$dir/data" || as_root umount --lazy "$dir/data"
    rm -f "$dir/disk.img"
}

if [ -n "$disk" ]; then
    # It outlives the namespaces: it is mounted outside of them, where a worker sees how full it is.
    trap remove_disk EXIT
    trap : HUP INT TERM
    mkdir -p "$dir/data"
    truncate -s "$disk" "$dir/disk.img"
    mkfs.ext4 -q -F -m 0 "$dir/disk.img"
    as_root mount -t ext4 -o loop "$dir/disk.img" "$dir/data" </dev/null
fi

command=(unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || command=(sudo -- "${command[@]}")
# Its control groups are below those of the engine of the tests, and go with them.
"${command[@]}" bash -c "$(declare -f mortal_main); mortal_main $(printf '%q %q %q' "$dir" "$(id -gn)" \
    "/cloudai-tests-${parent##*.}/$(basename "$dir")")"
