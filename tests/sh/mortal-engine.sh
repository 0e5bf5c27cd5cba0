#!/usr/bin/env bash
# mortal-engine.sh DIRECTORY [live-restore]: a Docker engine that dies and comes back as it is told on stdin: `kill` (and
# start again), `down`, `up`, `pause`, `go-on`. It says `done` to each. When stdin ends, so does all of it.
#
# In namespaces of its own, like the engine of the tests, but not as their first process: its containers outlive it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/sh/common.sh
. "$root/tests/sh/common.sh"

dir=$1
live_restore=false
[ "${2:-}" != live-restore ] || live_restore=true
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
    down() {
        kill -KILL "$pid"
        wait "$pid" || true
    }
    up
    while read -r word; do
        case $word in
        kill) down && up ;;
        down) down ;;
        up) up ;;
        pause) kill -STOP "$pid" ;;
        go-on) kill -CONT "$pid" ;;
        *) exit 2 ;;
        esac
        echo "done"
    done
}

command=(unshare --net --mount --propagation slave --pid --fork --kill-child --mount-proc)
[ "$(id -u)" = 0 ] || command=(sudo -- "${command[@]}")
# Its control groups are below those of the engine of the tests, and go with them.
exec "${command[@]}" bash -c "$(declare -f mortal_main); mortal_main $(printf '%q %q %q' "$dir" "$(id -gn)" \
    "/cloudai-tests-${parent##*.}/$(basename "$dir")")"
