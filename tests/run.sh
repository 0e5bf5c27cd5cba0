#!/usr/bin/env bash
# run.sh [ARGUMENTS OF cargo nextest run]: installs what the tests need, starts it, runs the whole suite, cleans up.
#
# The tests that need Docker get an engine of their own (tests/sh/engine.sh): no engine, container or image of this
# machine is touched, and two runs side by side do not disturb each other. Without that engine nothing is run, and the
# script fails.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tests/sh/common.sh
. tests/sh/common.sh
# shellcheck source=tests/sh/tools.sh
. tests/sh/tools.sh
# shellcheck source=tests/sh/engine.sh
. tests/sh/engine.sh

at_end engine_stop

run() {
    "$@" 7>&- 8>&- 9>&- &
    runner_pid=$!
    wait_for_runner
}

{ have cc && have make; } || apt_install build-essential
have tmux || apt_install tmux
have cargo || die "cargo is missing: install Rust from https://rustup.rs (Debian's own is too old)"
cargo_nextest
python_packages
mongowire
postgresql

# What the tests start is built first, with the features that the tests are built with.
run cargo build --workspace --bins --locked
run cargo nextest run --workspace --locked --no-run

engine_start
export CLOUDAI_TEST_DOCKER="unix://$engine_dir/docker.sock"
export CLOUDAI_TEST_IMAGE="cloudai-test/busybox:1"
run env DOCKER_HOST="$CLOUDAI_TEST_DOCKER" tests/sh/busybox-image.sh "$CLOUDAI_TEST_IMAGE"

run engine_net cargo nextest run --workspace --locked --offline "$@"
