# shellcheck shell=bash
# Finds the servers that a script needs: configured ones, else Docker's, else native processes. EVP_STACK forces the choice.
# Used by sourcing; sets STACK_KIND to configured, docker or native.

STACK_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
STACK_SERVICES=(postgres kafka mongo)

stack_say() { printf '%s\n' "$*"; }
stack_fail() { printf 'stack: %s\n' "$*" >&2; exit 1; }

docker_answers() {
    command -v docker >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 && timeout 10 docker info >/dev/null 2>&1
}

stack_choose() {
    STACK_KIND=${EVP_STACK:-}
    if [[ -z $STACK_KIND ]]; then
        if [[ -n ${POSTGRES_HOST-} && -n ${KAFKA_BOOTSTRAP_SERVERS-} && -n ${MONGODB_URI-} ]]; then STACK_KIND=configured
        elif docker_answers; then STACK_KIND=docker
        else STACK_KIND=native; fi
    fi
    case $STACK_KIND in
        configured) stack_say "services: those of POSTGRES_HOST, KAFKA_BOOTSTRAP_SERVERS and MONGODB_URI" ;;
        docker) stack_say "services: Docker compose" ;;
        native) stack_say "services: native processes, since no Docker engine answers or native ones were asked for" ;;
        *) stack_fail "EVP_STACK=$STACK_KIND is unknown: use configured, docker or native, or unset it" ;;
    esac
}

docker_compose() { docker compose -f "$STACK_ROOT/compose/docker-compose.yml" "$@"; }

# A stack of this run's own: nothing of a developer's running one is touched.
stack_make_own() {
    local service
    case $STACK_KIND in
        native)
            EVP_STACK_DIR=$(mktemp -d "${TMPDIR:-/tmp}/evp-stack.XXXXXX")
            export EVP_STACK_DIR
            ;;
        docker)
            command -v python3 >/dev/null 2>&1 || stack_fail "python3 is missing: install Python 3.8 or newer"
            export COMPOSE_PROJECT_NAME=evp-run-$$
            for service in POSTGRES KAFKA MONGO; do
                export "EVP_${service}_PORT=$(python3 "$STACK_ROOT/compose/native.d/probe.py" free-port)"
            done
            ;;
    esac
}

stack_up() {
    case $STACK_KIND in
        native) "$STACK_ROOT/compose/native" up "${STACK_SERVICES[@]}" ;;
        docker) docker_compose up --detach --wait --wait-timeout 180 "${STACK_SERVICES[@]}" ;;
    esac
}

stack_export() { # points evp at the stack
    case $STACK_KIND in
        native) eval "$("$STACK_ROOT/compose/native" env)" ;;
        docker)
            export POSTGRES_HOST=localhost POSTGRES_PORT=${EVP_POSTGRES_PORT:-5432} POSTGRES_DB=activity
            export POSTGRES_USER=postgres POSTGRES_PASSWORD=${POSTGRES_PASSWORD:-postgres}
            export KAFKA_BOOTSTRAP_SERVERS=localhost:${EVP_KAFKA_PORT:-9092}
            # A native instance that a test starts for itself must not ask for the ports of the containers.
            export -n EVP_POSTGRES_PORT EVP_KAFKA_PORT EVP_MONGO_PORT
            # The replica set names its member as the containers see it.
            export MONGODB_URI="mongodb://localhost:${EVP_MONGO_PORT:-27017}/?directConnection=true" MONGODB_DATABASE=activity_read
            ;;
    esac
}

stack_down() { # keeps the data
    case $STACK_KIND in
        native) "$STACK_ROOT/compose/native" down ;;
        docker) docker_compose --profile '*' down ;;
    esac
}

stack_remove() { # with the data
    case $STACK_KIND in
        native) "$STACK_ROOT/compose/native" wipe ;;
        docker) docker_compose --profile '*' down --volumes ;;
    esac
}
