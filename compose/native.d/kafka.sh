# shellcheck shell=bash
# One Kafka node that is broker and controller at once.

kafka_remember() {
    remember EVP_KAFKA_AUTO_CREATE true
    remember EVP_KAFKA_SETTINGS ""
    remember EVP_KAFKA_CLUSTER_ID ""
    remember_port EVP_KAFKA_PORT
    remember_port EVP_KAFKA_CONTROLLER_PORT
}

kafka_config() { say "$STACK/config/kafka.properties"; }

kafka_configure() { # After a kill the broker may return once its old session has run out, hence a session shorter than the usual 9 s.
    local port controller
    port=$(setting EVP_KAFKA_PORT) controller=$(setting EVP_KAFKA_CONTROLLER_PORT)
    cat >"$(kafka_config)" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$STACK/data/kafka
auto.create.topics.enable=$(setting EVP_KAFKA_AUTO_CREATE)
num.partitions=1
log.retention.ms=-1
log.retention.bytes=-1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
$(setting EVP_KAFKA_SETTINGS)
EOF
}

kafka_java() { # kafka_java HEAP: the start of every Java command line, collecting garbage as Kafka's own scripts would
    JAVA=(java "-Xmx$1" "-Xms$1" -XX:+ExitOnOutOfMemoryError
        -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent
        -Dorg.slf4j.simpleLogger.showDateTime=true "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS"
        -cp "$(kafka_home)/*")
}

kafka_create() {
    [[ -f $STACK/data/kafka/meta.properties ]] && return 0
    local id
    # A cluster id is 16 random bytes in URL-safe base64; a leading dash would read as an option.
    id=$(setting EVP_KAFKA_CLUSTER_ID)
    [[ -n $id ]] || id=$(python3 -c 'import base64, uuid; print("e" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22])')
    rm -rf "$STACK/data/kafka"
    kafka_java 128m
    "${JAVA[@]}" kafka.tools.StorageTool format -t "$id" -c "$(kafka_config)" >>"$STACK/logs/kafka.log" 2>&1 ||
        { show_log_tail kafka 20; die "Kafka could not format its data folder: read the lines above"; }
}

kafka_start() {
    check_java
    kafka_configure
    kafka_create
    kafka_java 512m
    launch kafka "${JAVA[@]}" kafka.Kafka "$(kafka_config)"
}

kafka_topics() { probe topics "$(kafka_where)"; }

kafka_ready() { kafka_topics >/dev/null; }

kafka_where() { say "127.0.0.1:$(setting EVP_KAFKA_PORT)"; }

kafka_env() { export_line KAFKA_BOOTSTRAP_SERVERS "$(kafka_where)"; }
