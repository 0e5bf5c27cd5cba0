#!/usr/bin/env bash
# torture.sh [quick|long] [PART...]: what breaks on purpose, over and over, one part after the other, and at the end one
# table of what was counted. `--help` says which parts there are and how far each goes.
#
# Each part is one call of tests/run.sh, with an engine of its own.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
# shellcheck source=tests/sh/common.sh
. tests/sh/common.sh

usage() {
    cat <<'END'
Usage: tests/torture.sh [quick|long] [PART...]

Runs the parts one after the other (all of them if none is named), and prints at the end one table: what each has
counted, how long it took, and whether it is ok. The exit code is 1 if a part has failed, 2 if the arguments are wrong.

  quick   as the whole suite runs them, in minutes (the default)
  long    with the full numbers, in an hour or more

  part        quick, and long with the variable that says so
  kills       15 kills of a worker over 25 containers; CLOUDAI_TEST_TORTURE=1: 1,000 over 1,000
  partitions  12 times a worker of four is cut off, in network namespaces, leases a tenth as long;
              CLOUDAI_TEST_TORTURE=1: 300 times
  engine      2 kills of a Docker engine; CLOUDAI_TEST_ENGINE_KILLS=100; and 4 of one whose container writes 200 MB
  logs        20 logs of 16 MiB, and 32 MiB that a hundred follow; CLOUDAI_TEST_LOG_LOAD=1: 20 of 1 GiB, and 1 GiB
  trees       300 /outputs of links, devices and odd names, and 30 that change while they are read; 60 and 6 that are
              brought to a master; CLOUDAI_TEST_TREES=10000 (and a tenth as many) of each
  files       500 small output files; CLOUDAI_TEST_FILES=1000000, which takes 5 GB of disk
  line        a line of 64 MiB without an end; CLOUDAI_TEST_LINE_MIB=1024

A variable that is set counts, in both forms: `CLOUDAI_TEST_ENGINE_KILLS=500 tests/torture.sh engine`.
END
}

parts=(kills partitions engine logs trees files line)

# part NAME: which tests it is, how they begin a line that counts, how many such lines there are, and what makes it long.
part() {
    case $1 in
    kills)
        tests='binary(e2e_torture) & test(=torture_by_kills_of_the_worker)'
        pattern='^[0-9]+ kills of a worker, ' expected=1 long='CLOUDAI_TEST_TORTURE=1'
        ;;
    partitions)
        tests='binary(e2e_torture) & test(=torture_by_partitions)'
        pattern='^[0-9]+ partitions of ' expected=1 long='CLOUDAI_TEST_TORTURE=1'
        ;;
    engine)
        tests='binary(e2e_engine) & test(/^(what_falls_with_the_engine_runs_again|of_what_is_written_at_full_rate)_/)'
        pattern='^[0-9]+ (kills|deaths) of the engine' expected=2 long='CLOUDAI_TEST_ENGINE_KILLS=100'
        ;;
    logs)
        tests='binary(e2e_log_load)'
        pattern='^[0-9]+ bytes of ' expected=2 long='CLOUDAI_TEST_LOG_LOAD=1'
        ;;
    trees)
        tests='test(hostile_trees)'
        pattern='^[0-9]+ hostile trees' expected=4 long='CLOUDAI_TEST_TREES=10000'
        ;;
    files)
        tests='binary(e2e_many_files)'
        pattern='^[0-9]+ of [0-9]+ files in ' expected=1 long='CLOUDAI_TEST_FILES=1000000'
        ;;
    line)
        tests='binary(e2e_verdicts) & test(=a_line_without_an_end_is_kept_to_the_byte)'
        pattern='^[0-9]+ of [0-9]+ bytes of one line ' expected=1 long='CLOUDAI_TEST_LINE_MIB=1024'
        ;;
    *) return 1 ;;
    esac
}

refuse() {
    printf '%s\n' "error: $*; tests/torture.sh --help says what there is" >&2
    exit 2
}

form=
chosen=()
for word in "$@"; do
    case $word in
    -h | --help)
        usage
        exit 0
        ;;
    quick | long)
        [ -z "$form" ] || [ "$form" = "$word" ] || refuse "either quick or long"
        form=$word
        ;;
    -*) refuse "there is no option '$word'" ;;
    *)
        part "$word" || refuse "there is no part '$word'"
        chosen+=("$word")
        ;;
    esac
done
form=${form:-quick}
[ "${#chosen[@]}" -gt 0 ] || chosen=("${parts[@]}")

work=$(mktemp -d)
tee_pid=
rows=()
failed=0

clean_up() {
    [ -z "$tee_pid" ] || wait "$tee_pid" 2>/dev/null || true
    rm -rf "$work"
}
at_end clean_up

# row PART STATE SECONDS RESULT: only the first line of a part names it.
row() {
    rows+=("$(printf '%-10s  %-6s  %7s  %s' "$@")")
}

# The lines of the tests that count something: they are indented, and may follow the name of their test.
results() {
    sed -E 's/^[[:space:]]*(test [^ ]+ \.\.\. )?//' "$1" | grep -E -- "$2" || true
}

run_part() {
    local name=$1 log="$work/log" code=0 begin=$SECONDS found=() state=ok
    local tests pattern expected long count line
    part "$name"
    local environment=(CARGO_TERM_COLOR=never) variable=${long%%=*}
    if [ "$form" = long ] && [ -z "${!variable-}" ]; then
        environment+=("$long")
    fi
    say "$form $name"
    # What is stopped still has something to say, so tee ends only after it.
    exec 5> >(
        trap '' INT TERM
        exec tee "$log"
    )
    tee_pid=$!
    env "${environment[@]}" tests/run.sh -j1 --success-output immediate --failure-output immediate -E "$tests" \
        >&5 2>&1 5>&- &
    runner_pid=$!
    exec 5>&-
    wait_for_runner || code=$?
    wait "$tee_pid" || true
    tee_pid=

    mapfile -t found < <(results "$log" "$pattern")
    # A test that counts nothing shows nothing.
    count=${#found[@]}
    [ "$code" = 0 ] && [ "$count" = "$expected" ] || state=FAILED
    [ "$code" = 0 ] || found+=("(tests/run.sh ended with $code)")
    [ "$count" = "$expected" ] || found+=("($count of $expected lines that count are there)")
    row "$name" "$state" $((SECONDS - begin)) "${found[0]}"
    for line in "${found[@]:1}"; do row '' '' '' "$line"; done
    [ "$state" = ok ] || failed=$((failed + 1))
}

row part state seconds result
for name in "${chosen[@]}"; do run_part "$name"; done
say "torture, $form: $failed of ${#chosen[@]} parts have failed"
printf '%s\n' "${rows[@]}"
[ "$failed" = 0 ]
