# What boot.sh runs in the container whose root is read-only, behind checks.sh.
refuses() { ! touch "$1/written"; }
ready() { curl -fsS --max-time 10 http://127.0.0.1:8080/readyz; }

check 'the root is read-only' refuses /usr
check 'so is /etc' refuses /etc
check 'the service is active on a read-only root' until_ok 20 systemctl is-active depthcast.service
check 'and ready' until_ok 10 ready
check 'a reload works there' systemctl reload depthcast.service
check 'so does a restart' eval 'systemctl restart depthcast.service && until_ok 10 ready'
[ "$failed" = 0 ] || journalctl -u depthcast.service --no-pager | tail -n 40
