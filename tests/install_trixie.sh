#!/bin/sh
# Brings in the PACS of the next Debian, Orthanc 1.12 with DICOMweb, as a second peer of the tests: a folder with a small
# Debian 13 in the cache of this user, nothing of it outside. Run as root on a Debian; once, then it is there.
# Never fails: tests that need it say so and are left out.
set -u
folder=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/imaging-workbench/trixie}
whole=$folder/complete

[ ! -e "$whole" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "No Orthanc of Debian 13, so what needs it is left out: it takes root, and a Debian"
    exit 0
fi

# Where this machine takes its own Debian from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/$' | head -n 1)
rm -rf "$folder"
mkdir -p "$folder"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing Orthanc of Debian 13 into $folder (a minute or two, 430 MB)"
if { command -v debootstrap || apt-get install -q -y --no-install-recommends debootstrap; } >"$log" 2>&1 &&
    debootstrap --variant=minbase --include=orthanc,orthanc-dicomweb trixie "$folder" "$mirror" >"$log" 2>&1; then
    rm -rf "$folder"/var/cache/apt/archives/*.deb
    : >"$whole"
else
    echo "Could not be installed, so what needs it is left out: $(tail -n 1 "$log")"
fi
exit 0
