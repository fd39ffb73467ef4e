#!/bin/sh
# Runs a command with no network but a loopback of its own, where that is possible: Orthanc and DCMTK's servers listen on
# every interface, and nothing of ours needs another. Elsewhere (no root, no Linux) the command runs as it is.
set -u
if [ "$(id -u)" -eq 0 ] && command -v ip >/dev/null && unshare --net true 2>/dev/null; then
    # shellcheck disable=SC2016 # expanded by the inner shell
    exec unshare --net sh -c 'ip link set lo up && exec "$@"' cut_off "$@"
fi
echo "The tests share this machine's network: a loopback of their own needs root, unshare (util-linux) and ip (iproute2)."
exec "$@"
