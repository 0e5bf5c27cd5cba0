#!/usr/bin/env bash
# busybox-image.sh IMAGE: makes a container image from the machine's own busybox-static, for where no registry can be
# reached. The engine is the one that `docker` talks to.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/sh/common.sh
. "$root/tests/sh/common.sh"

image=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/tree"

# One that needs no library runs in an empty image. The plain busybox does need one, and its package and the static one
# exclude each other: so that is unpacked here, and not installed.
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || ldd "$busybox" 2>/dev/null | grep -q ld-linux; then
    say "fetching busybox-static"
    cd "$work"
    apt-get -q download busybox-static >&2 || {
        as_root apt-get -q update >&2
        apt-get -q download busybox-static >&2 || die "busybox-static cannot be fetched: see the message above"
    }
    dpkg -x busybox-static_*.deb unpacked
    busybox=$(find "$work/unpacked" -path '*/bin/busybox' -type f)
fi

mkdir -p "$tree"/{bin,etc,root,tmp,usr/bin,var/tmp}
chmod 1777 "$tree/tmp" "$tree/var/tmp"
cp "$busybox" "$tree/bin/busybox"
"$busybox" --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
done
ln -s ../../bin/env "$tree/usr/bin/env"
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/sh' >"$tree/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$tree/etc/group"

# The command is for tasks that give none.
tar -C "$tree" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'CMD ["/bin/echo", "the command of the image"]' - "$image" >/dev/null
