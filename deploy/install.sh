#!/bin/sh
# Installs depthcast on a board without apt, from the folder that this script lies in (deploy/package makes an archive of
# it): ./install.sh, as root. Again for an upgrade: the configuration stays as it is, the new one is laid beside it.
#
#     ./install.sh uninstall [--purge]      takes it away again; with --purge the configuration too
#     DESTDIR=/image ./install.sh           into the root of an image: only files, nothing is started
#
# A POSIX shell is enough, busybox' too. What it puts where:
set -eu
BIN=/usr/bin/depthcast
UNITS=/etc/systemd/system
RULE=/etc/udev/rules.d/60-depthcast.rules
SYSUSERS=/etc/sysusers.d/depthcast.conf
AVAHI=/etc/avahi/services/depthcast.service
CONFIG=/etc/depthcast/config.toml

from=$(cd "$(dirname "$0")" && pwd)
DESTDIR=${DESTDIR:-}

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
# Whether there is a systemd that runs: not while an image is made.
booted() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# put FILE TARGET MODE: complete or not at all, also while the old one is being run.
put() {
    mkdir -p "$DESTDIR${2%/*}"
    cp "$from/$1" "$DESTDIR$2.new"
    chmod "$3" "$DESTDIR$2.new"
    mv "$DESTDIR$2.new" "$DESTDIR$2"
}

make_user() {
    if [ -n "$DESTDIR" ]; then
        say "the user depthcast is made from $SYSUSERS when the image boots; without systemd-sysusers add a system user"
        return
    fi
    if has systemd-sysusers; then systemd-sysusers "$from/depthcast.conf" || true; fi
    if id depthcast >/dev/null 2>&1; then
        :
    elif has useradd; then
        useradd --system --user-group --no-create-home --home-dir / --shell /sbin/nologin depthcast
    elif has adduser; then
        # That of busybox.
        addgroup -S depthcast && adduser -S -D -H -h / -s /sbin/nologin -G depthcast depthcast
    else
        die 'neither systemd-sysusers, useradd nor adduser can: add a system user "depthcast" with a group of its own'
    fi
}

heed_rules() {
    if [ -n "$DESTDIR" ] || [ ! -S /run/udev/control ]; then return; fi
    udevadm control --reload || true
    # A sensor that is plugged in already gets its group too.
    udevadm trigger --action=change --subsystem-match=usb --attr-match=idVendor=045e || true
}

install_all() {
    # A program for another processor would be found out too late.
    [ -n "$DESTDIR" ] || "$from/depthcast" --version || die "$from/depthcast does not run here: is it for this processor?"
    make_user
    put depthcast "$BIN" 755
    put depthcast.conf "$SYSUSERS" 644
    put 60-depthcast.rules "$RULE" 644
    heed_rules
    if [ ! -e "$DESTDIR$CONFIG" ]; then
        put config.toml "$CONFIG" 644
    elif cmp -s "$from/config.toml" "$DESTDIR$CONFIG"; then
        :
    else
        put config.toml "$CONFIG.new-version" 644
        say "$CONFIG is kept; what this version comes with is in $CONFIG.new-version"
    fi
    if [ -d "$DESTDIR/etc/avahi" ] && [ ! -e "$DESTDIR$AVAHI" ]; then put avahi.service "$AVAHI" 644; fi
    put depthcast.service "$UNITS/depthcast.service" 644
    put depthcast.socket "$UNITS/depthcast.socket" 644
    if booted; then
        systemctl daemon-reload
        systemctl enable --quiet depthcast.socket depthcast.service
        systemctl start depthcast.socket
        systemctl restart depthcast.service
        say 'depthcast is installed and runs; systemctl status depthcast'
    elif [ -e "$DESTDIR/usr/lib/systemd/systemd" ] || [ -e "$DESTDIR/lib/systemd/systemd" ]; then
        mkdir -p "$DESTDIR$UNITS/multi-user.target.wants" "$DESTDIR$UNITS/sockets.target.wants"
        ln -sf ../depthcast.service "$DESTDIR$UNITS/multi-user.target.wants/depthcast.service"
        ln -sf ../depthcast.socket "$DESTDIR$UNITS/sockets.target.wants/depthcast.socket"
        say 'depthcast is installed and starts with the system'
    else
        say "depthcast is installed; there is no systemd, so let whatever starts services here run, as user depthcast,"
        say "    $BIN run --config $CONFIG"
    fi
}

uninstall() {
    if booted; then
        systemctl disable --quiet --now depthcast.service depthcast.socket 2>/dev/null || true
    fi
    rm -f "$DESTDIR$UNITS/multi-user.target.wants/depthcast.service" \
        "$DESTDIR$UNITS/sockets.target.wants/depthcast.socket" \
        "$DESTDIR$UNITS/depthcast.service" "$DESTDIR$UNITS/depthcast.socket" \
        "$DESTDIR$BIN" "$DESTDIR$RULE" "$DESTDIR$SYSUSERS" "$DESTDIR$AVAHI" "$DESTDIR$CONFIG.new-version"
    if booted; then systemctl daemon-reload; fi
    heed_rules
    if [ "${1:-}" = --purge ]; then
        rm -f "$DESTDIR$CONFIG"
        rmdir "$DESTDIR${CONFIG%/*}" 2>/dev/null || true
    elif [ -e "$DESTDIR$CONFIG" ]; then
        say "$CONFIG is kept"
    fi
    # As with the Debian package: files may belong to it, and its number must not become somebody else's.
    say 'depthcast is removed; the user depthcast stays'
}

case ${1:-install} in
install | uninstall) [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || die 'run it as root' ;;
esac
case ${1:-install} in
install) install_all ;;
uninstall) uninstall "${2:-}" ;;
*) sed -n '2,/^# A POSIX/s/^# \{0,1\}//p' "$0" && exit 1 ;;
esac
