# What boot.sh runs in the container whose root is read-only.
check() {
    local name=$1
    shift
    if "$@" >/dev/null 2>&1; then echo "PASS $name"; else echo "FAIL $name"; bad=1; fi
}
until_ok() {
    local tries=$(($1 * 5))
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.2
    done
}
refuses() { ! touch "$1/written"; }
ready() { curl -fsS --max-time 10 http://127.0.0.1:8080/readyz; }

check 'the root is read-only' refuses /usr
check 'so is /etc' refuses /etc
check 'the service is active on a read-only root' until_ok 20 systemctl is-active depthcast.service
check 'and ready' until_ok 10 ready
check 'a reload works there' systemctl reload depthcast.service
check 'so does a restart' eval 'systemctl restart depthcast.service && until_ok 10 ready'
[ -z "$bad" ] || journalctl -u depthcast.service --no-pager | tail -n 40
