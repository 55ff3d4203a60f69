#!/usr/bin/env bash
# Make a virtual environment that holds inrv, its development tools and, where the system has it, OpenVDB as a referee.
# usage: scripts/setup.sh VENV
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

# Install Debian or Ubuntu packages where we may; otherwise return 1.
apt_install() {
    local as_root=()
    command -v apt-get >/dev/null || return 1
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "installing $*"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >&2 && return
    "${as_root[@]}" apt-get update </dev/null >&2 || return 1
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" </dev/null >&2
}

# The extension module's own name says which CPython it is for: pyopenvdb.cpython-311-x86_64-linux-gnu.so
find_bindings() {
    ls /usr/lib/python3/dist-packages/pyopenvdb.cpython-3*.so 2>/dev/null | sort -V | tail -n 1
}

has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
is_version() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ]; }

# A CPython $version that can make virtual environments: the system's, then any other on this machine.
find_python() {
    local candidate
    for candidate in "/usr/bin/python$version" $(type -ap "python$version" || true) "$HOME"/.pyenv/versions/"$version".*/bin/python; do
        if [ -x "$candidate" ] && is_version "$candidate" && has_venv "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

bindings=$(find_bindings || true)
if [ -z "$bindings" ]; then
    apt_install python3-openvdb || true
    bindings=$(find_bindings || true)
fi
if [ -n "$bindings" ]; then
    version=$(basename "$bindings" | sed -E 's/^pyopenvdb\.cpython-3([0-9]+).*/3.\1/')
else
    say "no OpenVDB (python3-openvdb) here: tests that ask it as a referee will be skipped"
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
fi

if ! python=$(find_python); then
    apt_install python3-venv || die "Python $version cannot make virtual environments. Type:  sudo apt-get install -y python3-venv"
    python=$(find_python) || die "no Python $version with the venv module found"
fi

if ! { [ -x "$venv/bin/python" ] && is_version "$venv/bin/python" && "$venv/bin/python" -m pip --version >/dev/null 2>&1; }; then
    say "making $venv with $python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

# The tests of the viewer draw in a browser without a window; they are skipped where there is none.
if ! command -v chromium chromium-browser google-chrome >/dev/null; then
    apt_install chromium || say "no Chromium here: tests of the viewer will be skipped"
fi

# Only this one module: the rest of dist-packages would shadow or break what pip installs.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
[ -z "$bindings" ] || ln -sf "$bindings" "$site/"

say "installing inrv and its development tools (some minutes the first time)"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]' </dev/null
[ -z "$bindings" ] || "$venv/bin/python" -c 'import pyopenvdb' || die "$bindings does not load in $venv"
say "done: $("$venv/bin/python" -c 'import sys, torch; print("Python", sys.version.split()[0] + ", torch", torch.__version__)')"
