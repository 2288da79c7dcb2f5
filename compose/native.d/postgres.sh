# shellcheck shell=bash
# PostgreSQL with logical decoding on, passwords on every connection, and TLS on request.

POSTGRES_USER_NAME=postgres
POSTGRES_DATABASE=activity

postgres_data() { say "$STACK/data/postgres"; }

postgres_account() { # The server refuses to run as root.
    if id postgres >/dev/null 2>&1; then say postgres; else say nobody; fi
}

as_postgres() {
    if is_root; then
        local account
        account=$(postgres_account)
        setpriv --reuid "$account" --regid "$(id -g "$account")" --clear-groups -- "$@"
    else
        "$@"
    fi
}

postgres_owns() { if is_root; then chown -R "$(postgres_account)" "$@"; fi; }

postgres_remember() {
    remember EVP_POSTGRES_VERSION "$POSTGRES_VERSION"
    remember EVP_POSTGRES_PASSWORD postgres
    remember EVP_POSTGRES_TLS 0
    remember EVP_POSTGRES_SETTINGS ""
    remember EVP_WAL_LEVEL logical
    remember_port EVP_POSTGRES_PORT
}

postgres_check_access() {
    is_root || return 0
    need setpriv "install the package util-linux"
    as_postgres test -x "$STACK/data" || die "the user $(postgres_account) cannot reach $STACK: set EVP_STACK_DIR to a folder below /tmp"
    as_postgres test -x "$(postgres_home)/bin/postgres" || die "the user $(postgres_account) cannot reach $CACHE: set EVP_CACHE_DIR to a folder every user may read, such as /var/cache/evp"
}

postgres_create() {
    local data home password_file
    data=$(postgres_data) home=$(postgres_home)
    [[ -f $data/evp.complete ]] && return 0
    # A set-up that was interrupted half-way is worth less than a new one.
    rm -rf "$data"
    mkdir -m 700 "$data"
    password_file=$STACK/config/postgres.password
    (umask 077 && setting EVP_POSTGRES_PASSWORD >"$password_file")
    postgres_owns "$data" "$password_file"
    # Reached through the data folder's parent, because the account may not open the folder this was called from.
    (
        cd /
        as_postgres "$home/bin/initdb" -D "$data" --username="$POSTGRES_USER_NAME" --pwfile="$password_file" \
            --auth=scram-sha-256 --encoding=UTF8 --locale=C
        say "CREATE DATABASE $POSTGRES_DATABASE" | as_postgres "$home/bin/postgres" --single -D "$data" postgres
    ) >>"$STACK/logs/postgres.log" 2>&1 || { show_log_tail postgres 20; die "initdb failed: read the lines above"; }
    rm -f "$password_file"
    say "include 'evp.conf'" >>"$data/postgresql.conf"
    # A client on this machine may ask for a replication connection, TLS or not.
    say "host all,replication all 127.0.0.1/32 scram-sha-256" >"$data/pg_hba.conf"
    touch "$data/evp.complete"
}

postgres_certificates() { # A CA of its own, so that verify-full can be tried; written once per instance
    local tls=$STACK/tls
    [[ -f $tls/server.crt ]] && return 0
    need openssl "install the package openssl, or unset EVP_POSTGRES_TLS"
    mkdir -p "$tls"
    (
        cd "$tls"
        openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=evp test CA" -keyout ca.key -out ca.crt
        openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout server.key -out server.csr
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >server.ext
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile server.ext -out server.crt
    ) >>"$STACK/logs/postgres.log" 2>&1 || die "openssl could not make the certificates: read $STACK/logs/postgres.log"
    chmod 600 "$tls/server.key" "$tls/ca.key"
    postgres_owns "$tls/server.key"
}

postgres_configure() { # Rewritten at every start; ALTER SYSTEM still wins over it.
    local data
    data=$(postgres_data)
    {
        say "listen_addresses = '127.0.0.1'"
        say "port = $(setting EVP_POSTGRES_PORT)"
        say "unix_socket_directories = ''"
        say "password_encryption = 'scram-sha-256'"
        say "wal_level = $(setting EVP_WAL_LEVEL)"
        say "max_wal_senders = 20"
        say "max_replication_slots = 20"
        say "max_connections = 200"
        say "shared_buffers = 256MB"
        say "fsync = on"
        if [[ $(setting EVP_POSTGRES_TLS) == 1 ]]; then
            say "ssl = on"
            say "ssl_ca_file = '$STACK/tls/ca.crt'"
            say "ssl_cert_file = '$STACK/tls/server.crt'"
            say "ssl_key_file = '$STACK/tls/server.key'"
        fi
        setting EVP_POSTGRES_SETTINGS
    } >"$data/evp.conf"
    postgres_owns "$data/evp.conf"
}

postgres_drop_stale_lock() { # After a kill, the number in the lock file may belong to any other process by now.
    local lock pid
    lock=$(postgres_data)/postmaster.pid
    [[ -f $lock ]] || return 0
    pid=$(head -n 1 "$lock")
    if tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$(postgres_data)"; then
        die "a server that this stack did not start (process $pid) runs on $(postgres_data): stop it first"
    fi
    rm -f "$lock"
}

postgres_start() {
    postgres_check_access
    postgres_create
    if [[ $(setting EVP_POSTGRES_TLS) == 1 ]]; then postgres_certificates; fi
    postgres_configure
    postgres_drop_stale_lock
    local -a user=()
    if is_root; then user=(setpriv --reuid "$(postgres_account)" --regid "$(id -g "$(postgres_account)")" --clear-groups --); fi
    cd /
    launch postgres "${user[@]}" "$(postgres_home)/bin/postgres" -D "$(postgres_data)"
    cd "$CHECKOUT"
}

postgres_sql() { PGPASSWORD=$(setting EVP_POSTGRES_PASSWORD) probe sql "$(postgres_where)" "$POSTGRES_DATABASE" "$POSTGRES_USER_NAME" "$1"; }

postgres_ready() { [[ $(postgres_sql "SELECT 1") == 1 ]]; }

postgres_where() { say "127.0.0.1:$(setting EVP_POSTGRES_PORT)"; }

postgres_env() {
    export_line POSTGRES_HOST 127.0.0.1
    export_line POSTGRES_PORT "$(setting EVP_POSTGRES_PORT)"
    export_line POSTGRES_DB "$POSTGRES_DATABASE"
    export_line POSTGRES_USER "$POSTGRES_USER_NAME"
    export_line POSTGRES_PASSWORD "$(setting EVP_POSTGRES_PASSWORD)"
    if [[ $(setting EVP_POSTGRES_TLS) == 1 ]]; then export_line POSTGRES_SSLROOTCERT "$STACK/tls/ca.crt"; fi
}
