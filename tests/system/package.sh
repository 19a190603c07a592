#!/usr/bin/env bash
# The packages: both built, lintian, built again in another folder to the same bytes, what they ask of a C library; and in
# an arm64 root of Debian 11, whose glibc is that of JetPack 5, installed, upgraded with an edited configuration, removed,
# purged, and the same with install.sh, then in a root that has busybox and nothing else. The viewer's packages likewise, and
# the amd64 one installed in a root of Debian 12, where it takes pictures of the packaged appliance.
#
# Run by hand: an hour with everything built anew, minutes with CARGO_TARGET_DIR kept. Needs root, a Debian of amd64, and
# registers qemu with the kernel (binfmt_misc) for as long as it runs. DEPTHCAST_PACKAGE_PARTS chooses: "build again root busybox viewer".
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/checks.sh"
cd "$ROOT"

PARTS=${DEPTHCAST_PACKAGE_PARTS:-build again root busybox viewer}
LAB=$OUT/package
# The oldest that the mirror still has: 2.31.
OLD=bullseye
MIRROR=$(sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
CHECK_LOG=$LAB/check.txt
mkdir -p "$LAB"
[ "$(id -u)" = 0 ] || die 'this test wants root'
[ "$(dpkg --print-architecture)" = amd64 ] || die 'this test wants amd64'

trouble() { tail -n 20 "$CHECK_LOG"; }
part() { [[ " $PARTS " == *" $1 "* ]]; }
quiet() { local text; text=$("$@" 2>&1 | grep -v 'running with root privileges'); [ -z "$text" ] || { echo "$text"; return 1; }; }

# The compiler for arm64 is that of arm.sh.
arch_packages=(rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static)
if ! [ -x /usr/bin/qemu-aarch64-static ] || ! [ -d /usr/lib/rustlib/aarch64-unknown-linux-gnu ]; then
    dpkg --add-architecture arm64
    again apt-get -qq update
    again env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${arch_packages[@]}" \
        >"$OUT/apt-arm.log" 2>&1 || die "cannot install ${arch_packages[*]}"
fi
need lintian lintian
need shellcheck shellcheck
need mmdebstrap mmdebstrap
need arch-test arch-test
need desktop-file-validate desktop-file-utils
command -v cargo-deb >/dev/null || cargo install --locked --quiet cargo-deb

if part build; then
    for arch in amd64 arm64; do
        check "$arch builds" deploy/package "$arch"
        check "$arch: the viewer builds" deploy/package "$arch" viewer
    done
fi
deb() { echo target/package/depthcast_*-*_"$1".deb; }
viewer_deb() { echo target/package/depthcast-view_*-*_"$1".deb; }
archive() { echo target/package/depthcast_*_"$1".tar.gz; }
for arch in amd64 arm64; do
    check "$arch: lintian has nothing to say" quiet lintian --fail-on warning,error "$(deb $arch)"
    rm -rf "${LAB:?}/$arch"
    dpkg -x "$(deb $arch)" "$LAB/$arch"
    # A static program has no table of versions to ask for.
    check "$arch: the program is static and asks for no C library" eval \
        "! readelf -l '$LAB/$arch/usr/bin/depthcast' | grep -q INTERP && ! readelf -V '$LAB/$arch/usr/bin/depthcast' | grep GLIBC"
    check "$arch: no path of this machine is in it" eval "! strings '$LAB/$arch/usr/bin/depthcast' | grep -E '$ROOT|$HOME/'"
    say "NOTE $(basename "$(deb $arch)"): $(stat -c %s "$(deb $arch)") bytes, $(file -b "$LAB/$arch/usr/bin/depthcast" | grep -oE 'for GNU/Linux [0-9.]+'), sha256 $(sha256sum <"$(deb $arch)" | cut -c 1-16)..."
done
check 'scripts: shellcheck' shellcheck deploy/install.sh deploy/package deploy/debian/*

if part again; then
    for arch in amd64 arm64; do
        # Another folder with another name, another target folder: nothing but the sources is shared.
        rm -rf "$LAB/elsewhere" && mkdir -p "$LAB/elsewhere"
        git archive HEAD | tar -x -C "$LAB/elsewhere"
        check "$arch builds in another folder" env CARGO_TARGET_DIR="$LAB/elsewhere/build" \
            SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" "$LAB/elsewhere/deploy/package" "$arch"
        for file in "$(deb $arch)" "$(archive $arch)"; do
            check "$(basename "$file"): the same bytes" cmp "$file" "$LAB/elsewhere/$file"
        done
        check "$arch: the viewer builds in another folder" env CARGO_TARGET_DIR="$LAB/elsewhere/build" \
            SOURCE_DATE_EPOCH="$(git log -1 --format=%ct)" "$LAB/elsewhere/deploy/package" "$arch" viewer
        check "$(basename "$(viewer_deb $arch)"): the same bytes" cmp "$(viewer_deb $arch)" "$LAB/elsewhere/$(viewer_deb $arch)"
        rm -rf "$LAB/elsewhere"
    done
fi

# binfmt_misc lets the kernel hand arm64 programs to qemu.
BINFMT=/proc/sys/fs/binfmt_misc
registered=
unregister() { [ -z "$registered" ] || echo -1 >"$BINFMT/qemu-depthcast" || true; }
trap unregister EXIT
register() {
    [ -e "$BINFMT/register" ] || mount -t binfmt_misc binfmt_misc "$BINFMT"
    ! grep -qs 'interpreter.*qemu-aarch64' "$BINFMT"/* || return 0
    printf '%s' ':qemu-depthcast:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00:\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:/usr/bin/qemu-aarch64-static:F' \
        >"$BINFMT/register"
    registered=1
}
# With /proc and /sys, in a namespace of its own, so that nothing is left mounted.
in_root() {
    unshare --mount sh -c 'mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && exec chroot "$0" "$@"' "$LAB/root" "$@"
}
fresh() { rm -rf "$LAB/root" && cp -a --reflink=auto "$LAB/clean" "$LAB/root"; }
edit() { in_root sed -i 's/^#location = .*/location = "Roof"/' /etc/depthcast/config.toml; }
edited() { in_root grep -q '^location = "Roof"' /etc/depthcast/config.toml; }
gone() { local path; for path in "$@"; do [ ! -e "$LAB/root$path" ] || { echo "$path is there"; return 1; }; done; }
there() { local path; for path in "$@"; do [ -e "$LAB/root$path" ] || { echo "$path is not there"; return 1; }; done; }
enabled() { in_root systemctl is-enabled depthcast.service depthcast.socket | uniq | grep -qx enabled; }
# Serves the demo: the picture, whole, and the right exit code.
serves() {
    in_root timeout 60 depthcast demo --listen 127.0.0.1:8099 >"$LAB/serves.txt" 2>&1 &
    local server=$! tries=60
    until curl -fsS --max-time 5 -o "$LAB/picture.png" http://127.0.0.1:8099/snapshot.png; do
        tries=$((tries - 1)) && [ "$tries" -gt 0 ] || return 1
        sleep 0.5
    done
    kill -TERM "$server" || true
    wait "$server" || true
    file "$LAB/picture.png" | grep -q '512 x 424'
}

if part root; then
    register
    if [ ! -e "$LAB/complete-2" ]; then
        say "making an arm64 root of $OLD"
        rm -rf "$LAB/clean"
        again mmdebstrap --quiet --mode=root --variant=minbase --arch=arm64 \
            --include=systemd,systemd-sysv,udev,init-system-helpers,passwd,procps "$OLD" "$LAB/clean" "$MIRROR" \
            >"$OUT/mmdebstrap-arm64.log" 2>&1 || die "mmdebstrap, see $OUT/mmdebstrap-arm64.log"
        touch "$LAB/complete-2"
    fi
    fresh
    say "NOTE $(in_root sh -c '. /etc/os-release; echo "$PRETTY_NAME"'), $(in_root uname -m), $(in_root ldd --version | head -n 1)"
    cp "$(deb arm64)" "$LAB/root/new.deb"
    # The next version is the same with another configuration and a higher number.
    rm -rf "$LAB/next" && dpkg-deb -R "$(deb arm64)" "$LAB/next"
    sed -i 's/^\(Version: .*\)$/\1+1/' "$LAB/next/DEBIAN/control"
    sed -i '1s/$/ Of the next version./' "$LAB/next/etc/depthcast/config.toml"
    dpkg-deb --root-owner-group -b "$LAB/next" "$LAB/root/next.deb" >/dev/null

    check 'arm64: installs' in_root dpkg -i /new.deb
    check 'arm64: the program runs' in_root depthcast --version
    check 'arm64: it serves a picture' serves
    check 'arm64: the packaged configuration is good' in_root depthcast check --config /etc/depthcast/config.toml
    check 'arm64: units are enabled' enabled
    check 'arm64: the user is there' in_root id depthcast
    say "NOTE $(in_root id depthcast), systemd $(in_root systemctl --version | head -n 1)"
    check 'arm64: the unit is understood' quiet in_root systemd-analyze verify --man=no depthcast.service depthcast.socket
    edit
    check 'arm64: upgraded with an edited configuration' in_root dpkg -i --force-confdef --force-confold /next.deb
    check 'arm64: the edited configuration is kept' edited
    check 'arm64: the new one lies beside it' there /etc/depthcast/config.toml.dpkg-dist
    in_root systemctl disable depthcast.service depthcast.socket >/dev/null 2>&1
    check 'arm64: an upgrade does not enable what was disabled' eval \
        "in_root dpkg -i --force-confold /next.deb && ! in_root systemctl is-enabled depthcast.service"
    check 'arm64: removed' in_root dpkg -r depthcast
    check 'arm64: the program is gone, the configuration is kept' eval 'gone /usr/bin/depthcast && edited'
    check 'arm64: installed again over it' in_root dpkg -i --force-confold /next.deb
    check 'arm64: it is still kept' edited
    check 'arm64: purged' in_root dpkg -P depthcast
    check 'arm64: nothing is left' gone /usr/bin/depthcast /etc/depthcast /lib/systemd/system/depthcast.service \
        /etc/systemd/system/multi-user.target.wants/depthcast.service /lib/udev/rules.d/60-depthcast.rules
    check 'arm64: no broken link in /etc/systemd' eval "! find '$LAB/root/etc/systemd' -xtype l -name 'depthcast*' | grep ."

    # Without apt: a root that is run in, though without a running systemd; then one that is an image.
    fresh
    rm -rf "$LAB/archive" && mkdir "$LAB/archive"
    tar -xzf "$(archive arm64)" -C "$LAB/archive"
    set -- "$LAB"/archive/depthcast_*_arm64
    cp -a "$1" "$LAB/root"
    inside=/$(basename "$1")
    check 'install.sh: installs' in_root "$inside/install.sh"
    check 'install.sh: the program runs' in_root depthcast --version
    check 'install.sh: it serves a picture' serves
    check 'install.sh: units are enabled' enabled
    check 'install.sh: the unit is understood' quiet in_root systemd-analyze verify --man=no depthcast.service depthcast.socket
    check 'install.sh: the user is there' in_root id depthcast
    edit
    check 'install.sh: once more' in_root "$inside/install.sh"
    check 'install.sh: the edited configuration is kept' edited
    check 'install.sh: the new one lies beside it' there /etc/depthcast/config.toml.new-version
    check 'install.sh: uninstalls' in_root "$inside/install.sh" uninstall
    check 'install.sh: the program is gone, the configuration is kept' eval 'gone /usr/bin/depthcast && edited'
    check 'install.sh: uninstalls with --purge' in_root "$inside/install.sh" uninstall --purge
    check 'install.sh: nothing is left' gone /etc/depthcast /etc/systemd/system/depthcast.service \
        /etc/systemd/system/sockets.target.wants/depthcast.socket /etc/udev/rules.d/60-depthcast.rules
    fresh
    check 'install.sh: into an image' env DESTDIR="$LAB/root" "$1/install.sh"
    check 'install.sh: units are enabled in the image' enabled
fi
if part busybox; then
    # The least that a board has: one program for everything, and no systemd.
    need busybox busybox-static
    rm -rf "$LAB/root" && mkdir -p "$LAB"/root/{bin,sbin,usr/bin,usr/sbin,etc,tmp,proc,sys}
    cp "$(command -v busybox)" "$LAB/root/bin/busybox"
    mkdir "$LAB/root/dev" && mknod -m 666 "$LAB/root/dev/null" c 1 3
    chroot "$LAB/root" /bin/busybox --install -s
    printf 'root:x:0:0::/:/bin/sh\n' >"$LAB/root/etc/passwd"
    printf 'root:x:0:\n' >"$LAB/root/etc/group"
    tar -xzf "$(archive amd64)" -C "$LAB/root"
    inside=/$(basename "$LAB"/root/depthcast_*_amd64)
    check 'busybox: where nothing can add a user, install.sh does nothing' eval \
        "! in_root '$inside/install.sh' && gone /usr/bin/depthcast /etc/sysusers.d /etc/depthcast"
    echo 'depthcast:x:990:990::/:/bin/false' >>"$LAB/root/etc/passwd"
    echo 'depthcast:x:990:' >>"$LAB/root/etc/group"
    check 'busybox: install.sh installs' in_root "$inside/install.sh"
    check 'busybox: the program serves a picture, without a C library' serves
    edit
    check 'busybox: once more, the edited configuration is kept' eval 'in_root "$inside/install.sh" && edited && there /etc/depthcast/config.toml.new-version'
    check 'busybox: uninstalls' eval 'in_root "$inside/install.sh" uninstall --purge && gone /usr/bin/depthcast /etc/depthcast /etc/udev/rules.d/60-depthcast.rules'
fi
# The newest version of the C library that a program asks for, and the libraries that it is linked with.
asks() { readelf -V "$1" | grep -oE 'GLIBC_[0-9.]+' | cut -d _ -f 2 | sort -uV | tail -n 1; }
links() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -vE '^(libc\.so\.6|libm\.so\.6|libgcc_s\.so\.1|ld-linux-.*)$'; }
if part viewer; then
    for arch in amd64 arm64; do
        root=$LAB/viewer-$arch
        rm -rf "${root:?}" && dpkg -x "$(viewer_deb $arch)" "$root"
        check "viewer, $arch: lintian has nothing to say" quiet lintian --fail-on warning,error "$(viewer_deb $arch)"
        check "viewer, $arch: no path of this machine is in it" eval \
            "! strings '$root/usr/bin/depthcast-view' | grep -E '$ROOT|$HOME/|/usr/lib/[a-z0-9_]*-linux-gnu'"
        check "viewer, $arch: linked with nothing but the C library" eval "! links '$root/usr/bin/depthcast-view'"
        check "viewer, $arch: the C library that it depends on is new enough" eval \
            "dpkg -f '$(viewer_deb $arch)' Depends | grep -o 'libc6 (>= [0-9.]*)' && dpkg --compare-versions '$(asks "$root/usr/bin/depthcast-view")' le \
            \"\$(dpkg -f '$(viewer_deb $arch)' Depends | sed -n 's/.*libc6 (>= \([0-9.]*\)).*/\1/p')\""
        say "NOTE $(basename "$(viewer_deb $arch)"): $(stat -c %s "$(viewer_deb $arch)") bytes, sha256 $(sha256sum <"$(viewer_deb $arch)" | cut -c 1-16)..."
    done
    check 'viewer, arm64: the program runs' qemu-aarch64-static -L /usr/aarch64-linux-gnu "$LAB/viewer-arm64/usr/bin/depthcast-view" --version
    check 'viewer: the desktop file is valid' desktop-file-validate "$LAB/viewer-amd64/usr/share/applications/depthcast-view.desktop"
    if [ ! -e "$LAB/desk-complete" ]; then
        rm -rf "$LAB/desk"
        again mmdebstrap --quiet --mode=root --variant=minbase --include=man-db bookworm "$LAB/desk" "$MIRROR" \
            >"$OUT/mmdebstrap-amd64.log" 2>&1 || die "mmdebstrap, see $OUT/mmdebstrap-amd64.log"
        touch "$LAB/desk-complete"
    fi
    rm -rf "$LAB/root" && cp -a --reflink=auto "$LAB/desk" "$LAB/root"
    cp "$(viewer_deb amd64)" "$LAB/root/view.deb"
    check 'viewer: installs, with nothing else' in_root dpkg -i /view.deb
    check 'viewer: the program runs' in_root depthcast-view --version
    check 'viewer: its manual is found, and has the keys' eval "in_root man depthcast-view | grep -q 'leave; the server goes on'"
    check 'viewer: completions, icon and licences are there' there /usr/share/bash-completion/completions/depthcast-view \
        /usr/share/zsh/vendor-completions/_depthcast-view /usr/share/fish/vendor_completions.d/depthcast-view.fish \
        /usr/share/icons/hicolor/scalable/apps/depthcast-view.svg /usr/share/doc/depthcast-view/THIRD-PARTY \
        /usr/share/doc/depthcast-view/sbom.cdx.json
    check 'viewer: where there is no screen it says so' eval \
        "! in_root env -u DISPLAY -u WAYLAND_DISPLAY depthcast-view >'$LAB/why.txt' 2>&1 && grep 'there is no window: .*--print' '$LAB/why.txt'"
    "$LAB/amd64/usr/bin/depthcast" demo --listen 127.0.0.1:8098 >"$LAB/desk.txt" 2>&1 &
    server=$!
    until_ok 10 curl -fs http://127.0.0.1:8098/healthz || true
    check 'viewer: takes pictures of the packaged appliance' eval "in_root depthcast-view 127.0.0.1:8098 --frames 3 --save /taken && \
        there /taken/000001.png /taken/000003.png"
    check 'viewer: takes its depth' eval "in_root depthcast-view 127.0.0.1:8098 --frames 2 --print --format png16 | grep -c nearest_mm | grep -qx 2"
    kill "$server"
    check 'viewer: purged' in_root dpkg -P depthcast-view
    check 'viewer: nothing is left' gone /usr/bin/depthcast-view /usr/share/doc/depthcast-view /usr/share/applications/depthcast-view.desktop
fi
say "$passed checks passed, $failed failed ($PARTS)"
[ "$failed" = 0 ] || die 'see above'
