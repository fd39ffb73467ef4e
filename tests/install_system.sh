#!/bin/sh
# Installs the Debian packages of a list, where that is possible and they are missing: those that the tests with a real
# PACS need, or of another list given as argument.
# Starts no service, changes nothing when all are there, and never fails: what needs them is left out then, and says so.
set -u
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
list=${1:-$folder/system-packages.txt}
policy=/usr/sbin/policy-rc.d

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "No Debian here, so what needs its packages is left out: $(tr "\n" " " <"$list")"
    exit 0
fi

missing=""
while read -r package; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)
    [ "$status" = installed ] || missing="$missing $package"
done <"$list"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Not installed, so what needs them is left out; as root: apt-get install$missing"
    exit 0
fi

log=$(mktemp)
ours=""
if [ ! -e "$policy" ]; then # Debian asks this file before it starts a service: 101 means no
    ours=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
finish() {
    [ -z "$ours" ] || rm -f "$policy"
    rm -f "$log"
}
trap finish EXIT
trap 'exit 0' HUP INT TERM

echo "Installing from Debian:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word per package
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    echo "Could not be installed, so what needs them is left out: $(grep -m 1 '^E:' "$log")"
fi
exit 0
