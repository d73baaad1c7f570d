# Shared by run and full: fresh copies, Pythons, steps that are counted, the closing report.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/napcore-ci.XXXXXX")
trap 'rm -rf "$work"' EXIT

unset PYTHONPATH MYPYPATH NAPCORE_PURE NAPCORE_TRACE NAPCORE_ANNOTATE VIRTUAL_ENV
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=2
export PYTEST_ADDOPTS="--hypothesis-profile=ci --color=no"

summaries=()
failures=()
skipped=()
passed_tests=0
failed_tests=0
skipped_tests=0

section() {
    printf '\n==== %s  [%dm%02ds]\n' "$1" $((SECONDS / 60)) $((SECONDS % 60))
}

# step NAME COMMAND...: a check that is right or wrong; the rest goes on either way.
step() {
    local name=$1
    shift
    section "$name"
    "$@" && return 0
    failures+=("$name (exit $?)")
    echo "FAILED: $name"
    return 1
}

# count LOG: adds a pytest run's closing line up.
count() {
    local word number
    while read -r number word; do
        case $word in
            passed | xfailed) passed_tests=$((passed_tests + number)) ;;
            failed | error | errors | xpassed) failed_tests=$((failed_tests + number)) ;;
            skipped) skipped_tests=$((skipped_tests + number)) ;;
        esac
    done < <(closing_line "$1" | grep -oE '[0-9]+ (passed|failed|errors?|skipped|xfailed|xpassed)')
}

closing_line() {
    grep -E '^=*[ ]?.*[0-9]+ (passed|failed|error|errors|skipped|deselected).* in [0-9.]+s|no tests ran' "$1" | tail -n 1 | sed -E 's/^=+ //; s/ =+$//'
}

# tests NAME COMMAND...: a pytest run. No test collected (exit 5) is a failure: a gate that tests nothing is open.
tests() {
    local name=$1 status log
    log=$work/log
    shift
    section "$name"
    "$@" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    count "$log"
    summaries+=("$name: $(closing_line "$log")")
    [ "$status" -eq 0 ] && return 0
    [ "$status" -eq 5 ] && echo "no test was collected"
    failures+=("$name (exit $status)")
    echo "FAILED: $name"
    return 1
}

# skip WHAT WHY: never silently.
skip() {
    skipped+=("$1: $2")
    printf '\n!!!! SKIPPED: %s: %s\n' "$1" "$2"
}

# python_of 3.12: prints that Python's path, from PATH or pyenv.
python_of() {
    local candidate
    for candidate in "$(command -v "python$1")" "$(pyenv root 2>/dev/null)/versions/$1".*/bin/"python$1"; do
        # a pyenv shim is on PATH even where it leads nowhere
        [ -x "$candidate" ] && "$candidate" -c '' 2>/dev/null && "$candidate" -c 'import sys; print(sys.executable)' && return 0
    done
    return 1
}

# copy DIR: the tree as it would be cloned now, with changes not yet committed and nothing that was built.
copy() {
    mkdir -p "$1"
    if git -C "$root" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
        (cd "$root" && git ls-files -z --cached --others --exclude-standard --deduplicate |
            while IFS= read -r -d '' file; do [ -e "$file" ] && printf '%s\0' "$file"; done |
            xargs -0 cp --parents -t "$1")
    else
        (cd "$root" && tar -c --exclude=.venv --exclude=build --exclude='*.so' --exclude=__pycache__ .) | tar -x -C "$1"
    fi
}

# as_python3 PYTHON: a folder for PATH in which python3 is that Python.
as_python3() {
    mkdir -p "$work/bin"
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$1" >"$work/bin/python3"
    chmod +x "$work/bin/python3"
    echo "$work/bin"
}

# readme_line PATTERN: the command of README that ends so.
readme_line() {
    local line
    line=$(grep -E "^python3 -m venv .*$1\$" "$root/README.md" | head -n 1)
    [ -n "$line" ] || { echo "README has no command that ends in $1" >&2; return 1; }
    echo "$line"
}

finish() {
    section "summary"
    [ ${#skipped[@]} -eq 0 ] || printf 'SKIPPED %s\n' "${skipped[@]}"
    printf '%s\n' "${summaries[@]}"
    [ ${#failures[@]} -eq 0 ] || printf 'FAILED %s\n' "${failures[@]}"
    printf '%d passed, %d failed, %d skipped\n' "$passed_tests" "$failed_tests" "$skipped_tests"
    [ ${#failures[@]} -eq 0 ] && [ "$passed_tests" -gt 0 ]
    exit
}
