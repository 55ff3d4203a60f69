#!/usr/bin/env bash
# Encode, decode, compare and draw a fire with the commands a user would type.
set -euo pipefail
cd "$(dirname "$0")/.."

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

mkdir -p demo
started=$SECONDS
run inrv encode fixtures/fire.vdb -o demo/fire.inrv --force
run inrv info demo/fire.inrv
run inrv decode demo/fire.inrv -o demo/fire.vdb --force
run inrv verify demo/fire.inrv
run inrv compare fixtures/fire.vdb demo/fire.vdb --weights demo/fire.inrv --figure demo/fire.png --force
if [ -f codec/inrv/viewer/page.html ]; then
    run inrv view demo/fire.inrv --html demo/fire.html --force
fi
printf '\n%s\n' "The demo took $((SECONDS - started)) s. demo/fire.png shows a slice of the original, of the decoded fire and of the error."
if [ -f demo/fire.html ]; then
    echo "Look at the fire: open file://$PWD/demo/fire.html in a browser, or type: inrv view demo/fire.inrv"
else
    echo "With Node.js, make viewer builds the viewer, and inrv view demo/fire.inrv shows the fire in a browser."
fi
