#!/bin/sh
# Installs the Debian packages that the tests with a real PACS need, where that is possible and they are missing.
# Starts no service, changes nothing when all are there, and never fails: without them those tests skip.
set -u
folder=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
policy=/usr/sbin/policy-rc.d

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "No Debian here: the tests with a real PACS skip."
    exit 0
fi

missing=""
while read -r package; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)
    [ "$status" = installed ] || missing="$missing $package"
done <"$folder/system-packages.txt"
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Not installed, so the tests with a real PACS skip; as root: apt-get install$missing"
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

echo "Installing for the tests with a real PACS:$missing"
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # one word per package
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
    echo "Could not be installed, so the tests with a real PACS skip: $(grep -m 1 '^E:' "$log")"
fi
exit 0
