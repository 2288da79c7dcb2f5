# shellcheck shell=bash
# Kafka Connect with Debezium's PostgreSQL connector: what `evp capture` is compared with, and exchanged for.

connect_remember() {
    remember EVP_DEBEZIUM_VERSION "$DEBEZIUM_VERSION"
    remember EVP_CONNECT_SETTINGS ""
    remember_port EVP_CONNECT_PORT
}

connect_start() {
    check_java
    local config=$STACK/config/connect.properties
    cat >"$config" <<EOF
bootstrap.servers=$(kafka_where)
group.id=evp-connect
listeners=http://127.0.0.1:$(setting EVP_CONNECT_PORT)
rest.advertised.host.name=127.0.0.1
plugin.path=$(debezium_home)
plugin.discovery=only_scan
key.converter=org.apache.kafka.connect.json.JsonConverter
key.converter.schemas.enable=false
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=false
config.storage.topic=evp-connect-configs
config.storage.replication.factor=1
offset.storage.topic=evp-connect-offsets
offset.storage.replication.factor=1
offset.storage.partitions=1
offset.flush.interval.ms=1000
status.storage.topic=evp-connect-status
status.storage.replication.factor=1
status.storage.partitions=1
$(setting EVP_CONNECT_SETTINGS)
EOF
    kafka_java 1g
    launch connect "${JAVA[@]}" org.apache.kafka.connect.cli.ConnectDistributed "$config"
}

connect_ready() { probe http-ok "$(connect_where)" /connectors; }

connect_where() { say "127.0.0.1:$(setting EVP_CONNECT_PORT)"; }

connect_env() { export_line CONNECT_URL "http://$(connect_where)"; }
