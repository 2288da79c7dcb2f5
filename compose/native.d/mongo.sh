# shellcheck shell=bash
# MongoDB, as a replica set of one unless a standalone server is asked for, or one that waits to join another's set.

mongo_remember() {
    remember EVP_MONGO_REPLSET 1
    remember EVP_MONGO_TEST_COMMANDS 0
    remember EVP_MONGO_DATABASE activity_read
    remember_port EVP_MONGO_PORT
}

mongo_is_replica_set() { [[ $(setting EVP_MONGO_REPLSET) != 0 ]]; }
mongo_is_to_join() { [[ $(setting EVP_MONGO_REPLSET) == join ]]; }

# With a smaller cache MongoDB evicts in bursts of tens of milliseconds that take both processors. The history of old
# versions, by default of five minutes, serves reads of the past alone and costs a sixth of its processor time.
mongo_start() {
    local -a options=()
    if mongo_is_replica_set; then options=(--replSet rs0); fi
    # What a frozen member has not asked for does not wait for it in a socket either.
    if mongo_is_to_join; then options+=(--setParameter oplogFetcherUsesExhaust=false); fi
    if [[ $(setting EVP_MONGO_TEST_COMMANDS) == 1 ]]; then options+=(--setParameter enableTestCommands=1); fi
    mkdir -p "$STACK/data/mongo"
    launch mongo "$(mongo_home)/mongod" --dbpath "$STACK/data/mongo" --bind_ip 127.0.0.1 --port "$(setting EVP_MONGO_PORT)" \
        --wiredTigerCacheSizeGB 2 --setParameter minSnapshotHistoryWindowInSeconds=5 --nounixsocket "${options[@]}"
}

mongo_ready() {
    if mongo_is_to_join; then probe mongo-answers "$(mongo_where)"; return; fi
    probe mongo-primary "$(mongo_where)" && return 0
    # Repeating the call does no harm, and a first start interrupted before it is mended by the next.
    if mongo_is_replica_set; then probe mongo-initiate "$(mongo_where)"; fi
    return 1
}

mongo_where() { say "127.0.0.1:$(setting EVP_MONGO_PORT)"; }

mongo_env() {
    local options="directConnection=true"
    if mongo_is_replica_set; then options="replicaSet=rs0"; fi
    export_line MONGODB_URI "mongodb://$(mongo_where)/?$options"
    export_line MONGODB_DATABASE "$(setting EVP_MONGO_DATABASE)"
}
