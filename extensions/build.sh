#!/bin/sh
# Builds the viewer into extensions/built, and links the environment to it: build.sh FOLDER-OF-ENVIRONMENT.
# Without Node.js it says so and changes nothing: everything else works without the viewer.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
environment=$(CDPATH='' cd -- "$1" && pwd)
if ! node -e 'process.exit(Number(process.versions.node.split(".")[0]) < 20 ? 1 : 0)' 2>/dev/null; then
    echo "The viewer is left out: it is built with Node.js 20 or newer (Debian: apt install nodejs; anywhere: conda install nodejs), then \`make viewer\`."
    exit 0
fi
echo "building the viewer (two minutes the first time)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export PATH="$environment/bin:$PATH"
cd "$here"
if ! { jlpm install --immutable && jlpm check && jlpm build; } >"$log" 2>&1; then
    tail -n 40 "$log"
    exit 1
fi
extensions="$environment/share/jupyter/labextensions"
mkdir -p "$extensions"
ln -sfn "$here/built" "$extensions/imaging-workbench"
