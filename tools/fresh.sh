# SPDX-License-Identifier: Apache-2.0
# Sourced by ./test --fresh: ./quickstart of the last commit on machines that have nothing. mmdebstrap makes a minimal root
# of each release from the mirror that this machine's own apt uses, runs in it, and throws it away.

fresh_releases=(bookworm trixie)
fresh_keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# Where this machine gets Debian from.
fresh_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null |
        sed 1q
}

fresh_impossible() {
    echo "no fresh machine can be made: $1" >&2
    return 1
}

fresh_possible() {
    if [ "$(id -u)" -ne 0 ] && ! unshare --user --map-root-user --mount true 2>/dev/null; then
        fresh_impossible "this takes root, or a kernel that lets users make namespaces (unshare --user)"
    elif ! command -v mmdebstrap >/dev/null; then
        fresh_impossible "mmdebstrap is not there (package mmdebstrap)"
    elif [ ! -r "$fresh_keyring" ]; then
        fresh_impossible "there is no $fresh_keyring (package debian-archive-keyring)"
    elif [ -z "$(fresh_mirror)" ]; then
        fresh_impossible "apt knows no mirror of Debian here; run 'apt-get update' first"
    fi
}

# How this machine's apt reaches its mirror, for the root's own.
fresh_apt_options() {
    apt-config dump | sed -n -E 's/^(Acquire::(http|https)::[Pp]roxy.*|Acquire::Check-Valid-Until .*)/--aptopt=\1/p'
}

# fresh_run RELEASE LOG: a commit as git hands it out, in /leat of the root; its ./quickstart is all that happens.
fresh_run() {
    local release=$1 log=$2 archive options=()
    archive=$(mktemp --suffix=.tar)
    git archive --prefix=leat/ -o "$archive" HEAD
    mapfile -t options < <(fresh_apt_options)
    mmdebstrap --variant=minbase --format=null --keyring="$fresh_keyring" "${options[@]}" \
        --customize-hook="tar-in '$archive' /" \
        --customize-hook='chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root sh -c "cd /leat && ./quickstart"' \
        "$release" /dev/null "$(fresh_mirror)" >"$log" 2>&1
    local status=$?
    rm -f "$archive"
    return $status
}

# All releases, one after the other; the last line counts them.
fresh_all() {
    local release log begin passed=0 failed=0
    for release in "${fresh_releases[@]}"; do
        log=$(mktemp -t "leat-fresh-$release-XXXXXX")
        begin=$(date +%s)
        echo "== $release: $log"
        if fresh_run "$release" "$log" && grep -q 'recall@10 over' "$log"; then
            passed=$((passed + 1))
            echo "== $release: demo ran, $(($(date +%s) - begin)) s"
            rm -f "$log"
        else
            failed=$((failed + 1))
            tail -n 30 "$log"
        fi
    done
    echo
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}
