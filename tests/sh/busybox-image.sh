#!/usr/bin/env bash
# busybox-image.sh IMAGE: makes a container image from the machine's own busybox-static, for where no registry can be
# reached. The engine is the one that `docker` talks to.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=tests/sh/common.sh
. "$root/tests/sh/common.sh"

image=$1
have busybox || apt_install busybox-static
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree"/{bin,etc,root,tmp,usr/bin,var/tmp}
chmod 1777 "$tree/tmp" "$tree/var/tmp"
cp "$(command -v busybox)" "$tree/bin/busybox"
busybox --list | while read -r applet; do
    [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
done
ln -s ../../bin/env "$tree/usr/bin/env"
printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'nobody:x:65534:65534:nobody:/:/bin/sh' >"$tree/etc/passwd"
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >"$tree/etc/group"

# The command is for tasks that give none.
tar -C "$tree" --owner=0 --group=0 --numeric-owner -c . |
    docker import --change 'CMD ["/bin/echo", "the command of the image"]' - "$image" >/dev/null
