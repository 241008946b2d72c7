# SPDX-License-Identifier: Apache-2.0
# Sourced by ./quickstart and ./test: installs the Debian packages that are missing (Debian 12 and 13).
# Nothing is missing: no network, no root.

packages_build=(build-essential pkg-config meson ninja-build python3 liblmdb-dev libxxhash-dev libcjson-dev
    libinih-dev libcmocka-dev zlib1g-dev)
packages_test=(clang)
packages_fresh=(mmdebstrap debian-archive-keyring)

package_present() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

package_known() {
    [ -n "$(apt-cache --quiet=0 show "$1" 2>/dev/null)" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "packages are missing: run this as root, or install sudo, or install by hand: ${missing[*]}" >&2
        return 1
    fi
}

# The C half of MessagePack is libmsgpack-dev in Debian 12 and libmsgpack-c-dev in Debian 13.
package_msgpack() {
    if package_known libmsgpack-c-dev; then echo libmsgpack-c-dev; else echo libmsgpack-dev; fi
}

# The sanitizers' run time of the default clang, which clang only recommends.
package_sanitizers() {
    clang --version | sed -n 's/.*version \([0-9]*\).*/libclang-rt-\1-dev/p;q'
}

packages_update() {
    as_root apt-get -q update || { sleep 5; as_root apt-get -q update; }
}

packages_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends "$@"
}

# packages_ensure NAME...: install those that are missing.
packages_ensure() {
    local name
    missing=()
    for name in "$@"; do
        package_present "$name" || missing+=("$name")
    done
    if ! package_present libmsgpack-dev && ! package_present libmsgpack-c-dev; then
        missing+=(msgpack)
    fi
    if [ ${#missing[@]} -eq 0 ]; then
        return 0
    fi
    echo "installing: ${missing[*]}"
    packages_update
    for name in "${!missing[@]}"; do
        if [ "${missing[$name]}" = msgpack ]; then missing[name]=$(package_msgpack); fi
    done
    packages_install "${missing[@]}"
}

# packages_ensure_sanitizers: after clang is there.
packages_ensure_sanitizers() {
    local name
    name=$(package_sanitizers)
    if ! package_present "$name"; then
        missing=("$name")
        packages_update
        packages_install "$name"
    fi
}
