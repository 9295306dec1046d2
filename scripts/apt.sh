# shellcheck shell=bash
# An apt with a state of its own, which takes packages of any suite from this machine's mirror, and installs none of
# them. Sourced after common.sh, not run.

# debian_mirror: prints the address that this machine's apt takes Debian itself from, and the name of its suite.
debian_mirror() {
    # shellcheck disable=SC2016 # $(REPO_URI) and $(CODENAME) are apt's
    apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' |
        awk '!found && $1 ~ "/debian/?$" { print; found = 1 } END { exit !found }'
}

# configure_apt DIR [SUITE [ARCHITECTURE]]: makes the state in DIR; the machine's own suite where none is named, or an
# empty one. With an architecture it knows that one only.
configure_apt() {
    local dir=$1 suite=${2:-} arch=${3:-} keyring=/usr/share/keyrings/debian-archive-keyring.gpg uri own found
    found=$(debian_mirror) || die "apt knows no mirror of Debian"
    read -r uri own <<<"$found"
    mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
    echo "deb [${arch:+arch=$arch }signed-by=$keyring] $uri ${suite:-$own} main" >"$dir/sources.list"
    : >"$dir/status"
    cat >"$dir/apt.conf" <<CONF
Dir::Etc::sourcelist "$dir/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
APT::Sandbox::User "root";
CONF
    [ -z "$arch" ] || printf 'APT::Architecture "%s";\nAPT::Architectures "%s";\n' "$arch" "$arch" >>"$dir/apt.conf"
}

# apt_download DIR PACKAGE…: the packages, and all that they need, into DIR/cache/archives.
apt_download() {
    local dir=$1
    shift
    env APT_CONFIG="$dir/apt.conf" apt-get -q update &&
        env APT_CONFIG="$dir/apt.conf" apt-get -q -y --no-install-recommends --download-only install "$@"
}
