# What the system tests need from outside: programs of the distribution and Python environments.
# Sourced by the scripts beside it; sets ROOT, OUT and DEPTHCAST.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OUT=$ROOT/target/system
export DEPTHCAST=${DEPTHCAST:-${CARGO_TARGET_DIR:-$ROOT/target}/release/depthcast}
mkdir -p "$OUT"

say() { printf '%s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# Runs a command up to three times: mirrors have bad moments.
again() {
    for pause in 5 20 0; do
        "$@" && return
        [ "$pause" = 0 ] || { say "again in $pause s: $*"; sleep "$pause"; }
    done
    return 1
}

# need PROGRAM PACKAGE...: installs the distribution's packages if the program is not there.
need() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return
    say "installing $* for $program"
    local root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    # The lists are read once an hour, not once a package.
    if [ -z "$(find "$OUT/apt-updated" -mmin -60 2>/dev/null)" ]; then
        again "${root[@]}" apt-get -qq update || die "cannot read the package lists; install $* by hand"
        touch "$OUT/apt-updated"
    fi
    again "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" \
        >"$OUT/apt.log" 2>&1 || die "cannot install $*, see $OUT/apt.log"
}

# The pairs that the Python protocol is tried with; `window` can open windows, the others need no display.
requirements() {
    case $1 in
    old) echo 'numpy==1.26.* opencv-python-headless==4.11.*' ;;
    new) echo 'numpy>=2 opencv-python-headless==5.*' ;;
    window) echo 'numpy==1.26.* opencv-python==4.11.*' ;;
    rvl) echo 'numpy>=2 opencv-python-headless==5.* rvl==1.0.*' ;;
    pictures) echo 'numpy>=2 opencv-python-headless==5.* pillow>=11' ;;
    browser) echo 'playwright==1.*' ;;
    soak) echo 'matplotlib==3.*' ;;
    clients) echo 'numpy==1.26.* opencv-python-headless==4.11.* playwright==1.* websockets==15.*' ;;
    *) die "no such environment: $1" ;;
    esac
}

# venv NAME: makes target/system/venv-NAME unless it is complete; sets PYTHON to its interpreter.
venv() {
    local folder=$OUT/venv-$1 wanted
    wanted=$(requirements "$1")
    PYTHON=$folder/bin/python
    [ "$(cat "$folder/complete" 2>/dev/null)" = "$wanted" ] && return
    say "making $folder: $wanted"
    rm -rf "$folder"
    python3 -m venv "$folder" || die 'python3 -m venv does not work (package python3-venv?)'
    local packages
    read -ra packages <<<"$wanted"
    again "$PYTHON" -m pip install -q --disable-pip-version-check "${packages[@]}" ||
        die "pip cannot install: $wanted"
    printf '%s\n' "$wanted" >"$folder/complete"
}
