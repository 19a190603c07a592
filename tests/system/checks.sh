# What the scripts that check one thing after the other share, here and in the machines that some of them boot. Sourced, or
# put in front of what runs in a machine; plain sh, for not every machine has bash.
#
# shellcheck shell=sh disable=SC3043
passed=0 failed=0

# check NAME COMMAND...: prints PASS or FAIL and the name, and counts. Of a failure `trouble` tells more, where it is defined.
check() {
    local name="$1"
    shift
    if "$@" >"${CHECK_LOG:-/dev/null}" 2>&1; then
        passed=$((passed + 1))
        echo "PASS $name"
    else
        failed=$((failed + 1))
        echo "FAIL $name"
        ! command -v trouble >/dev/null || trouble
    fi
}

# until_ok SECONDS COMMAND...: whether the command succeeds when it is tried five times a second for that long; longer where a
# try takes its time.
until_ok() {
    local tries=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.2
    done
}
