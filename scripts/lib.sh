# What the scripts share: where the checkout is, system packages, and the virtual environment.
#
# Sourced by bash scripts beside it, from any current folder. Promises that `ensure_venv` is fast when nothing has to be
# done: a stamp in .venv holds a digest of everything that decides what is installed. Installs only what the pinned
# sets in requirements/ name, by their hashes.
# shellcheck shell=bash

set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv

say() {
    if [ -t 2 ]; then
        printf '\033[1m%s\033[0m\n' "$*" >&2
    else
        printf '%s\n' "$*" >&2
    fi
}

fail() {
    printf 'error: %s\n' "$1" >&2
    [ $# -lt 2 ] || printf 'fix:   %s\n' "$2" >&2
    exit 1
}

# install_packages COMMAND PACKAGE... : Debian packages, unless COMMAND is there already.
install_packages() {
    local command=$1 as_root=()
    shift
    command -v "$command" >/dev/null && return
    command -v apt-get >/dev/null || fail "$command is missing" "install $* with this system's package manager"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "$command is missing" "as root: apt-get install $*"
        as_root=(sudo)
    fi
    say "Installing $* (Debian)"
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q
        --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
    "${install[@]}" >&2 || { "${as_root[@]}" apt-get update -q >&2 && "${install[@]}" >&2; } ||
        fail "apt-get could not install $*"
}

# ensure_promtool : Prometheus's checker of rules in .venv. Debian's package of it starts a server, so nothing is
# installed: the one program is taken out of the package. Where that cannot be had, the tests that want it are skipped.
ensure_promtool() {
    local folder
    if command -v promtool >/dev/null || [ -x "$venv/bin/promtool" ]; then
        return
    fi
    say "Fetching promtool (from Debian's package prometheus)"
    folder=$(mktemp -d)
    if (cd "$folder" && apt-get download -q prometheus && dpkg-deb --extract prometheus_*.deb .) >&2; then
        install -m 755 "$folder/usr/bin/promtool" "$venv/bin/promtool"
    else
        say "promtool cannot be fetched: its tests are skipped"
    fi
    rm -rf "$folder"
}

# find_python : a Python that is new enough, into `python`. PYTHON names another one.
find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            python=$candidate
            return
        fi
    done
    fail "Python 3.11 or newer is needed" "apt-get install python3, or name one: PYTHON=/path/to/python3 $0"
}

# make_venv FOLDER : an empty virtual environment.
make_venv() {
    find_python
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        say "Python's venv module is missing; it is the Debian package python3-venv"
        install_packages "venv of $python" python3-venv
    fi
    "$python" -m venv --clear "$1" || fail "the virtual environment $1 could not be made" "apt-get install python3-venv"
}

# fill_venv FOLDER SET SOURCE [PIP_OPTION...] : the pinned SET and Noctis itself into the virtual environment.
fill_venv() {
    local folder=$1 set=$2 source=$3
    shift 3
    local pip=("$folder/bin/python" -m pip --disable-pip-version-check --no-input --quiet install)
    "${pip[@]}" --require-hashes -r "$root/requirements/$set.txt" ||
        fail "the packages of requirements/$set.txt could not be installed" "see pip's message above"
    "${pip[@]}" --no-deps --no-build-isolation "$@" "$source" || fail "Noctis itself could not be installed"
}

# ensure_venv SET : .venv holds at least SET (postgres, test or check; each holds the one before it).
ensure_venv() {
    local wanted=$1 stamp=$venv/.installed found='' digest
    exec 9<"$root"
    flock 9 # two scripts at once: one installs, the other finds it done
    if "$venv/bin/python" -c '' 2>/dev/null; then
        digest=$(digest_of_inputs)
        [ ! -f "$stamp" ] || found=$(cat "$stamp")
        case "$wanted/$found" in
            "postgres/$digest "* | "test/$digest test" | "test/$digest check" | "check/$digest check")
                exec 9<&-
                return
                ;;
        esac
    fi
    # A virtual environment knows its own path: one that was copied or moved is made anew, and so is half a one.
    if ! "$venv/bin/python" -c 'import pip' 2>/dev/null || ! grep -qF "$venv" "$venv/bin/activate"; then
        say "Making the virtual environment .venv"
        make_venv "$venv"
    fi
    say "Installing the packages of requirements/$wanted.txt"
    rm -f "$stamp"
    fill_venv "$venv" "$wanted" "$root" --editable
    printf '%s %s\n' "$(digest_of_inputs)" "$wanted" >"$stamp"
    exec 9<&-
}

digest_of_inputs() {
    { "$venv/bin/python" -VV && cat "$root/pyproject.toml" "$root"/requirements/*.txt; } | sha256sum | cut -c 1-64
}
