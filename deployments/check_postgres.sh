#!/usr/bin/env bash
# Proves the shape of compose.yaml without Docker: Postgres and Redis from Debian, two API replicas, the background
# services apart, two workers, and an event that goes in at one replica and comes out as a video.
#
#   deployments/check_postgres.sh [PYTHON]      PYTHON has the plugin, prefect-redis and moto[s3]; root installs packages
#
# Servers listen on loopback only; everything is stopped and removed at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$(realpath "${1:-.venv/bin/python}" --no-symlinks)
PATH="$(dirname "$python"):$PATH"
home=$(mktemp -d /tmp/genvideo-postgres.XXXXXX)
chmod 755 "$home"
started=()

finish() {
  for process in "${started[@]}"; do kill -- "-$process" 2>/dev/null || true; done
  sleep 1
  for process in "${started[@]}"; do kill -9 -- "-$process" 2>/dev/null || true; done
  rm -rf "$home"
}
trap finish EXIT
trap 'exit 143' INT TERM

# Each in a session of its own, so that what it starts ends with it.
start() {
  local name=$1
  shift
  setsid "$@" >"$home/$name.log" 2>&1 </dev/null &
  started+=($!)
  disown # else bash reports the end of each
}

until_true() {
  local what=$1 deadline=$((SECONDS + ${LIMIT:-180}))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS > deadline)); then
      echo "not in time: $what" >&2
      tail -n 25 "$home"/*.log >&2
      exit 1
    fi
    sleep 0.5
  done
}

if ! command -v redis-server >/dev/null || ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends postgresql redis-server >/dev/null
fi
postgres=$(dirname "$(ls /usr/lib/postgresql/*/bin/initdb | tail -n 1)")
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }

mkdir "$home/database"
chown postgres "$home/database"
as_postgres "$postgres/initdb" -D "$home/database" -U prefect --auth=trust >"$home/initdb.log"
start postgres setpriv --reuid=postgres --regid=postgres --init-groups "$postgres/postgres" -D "$home/database" \
  -p 25432 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off
start redis redis-server --port 26379 --bind 127.0.0.1 --save "" --appendonly no --dir "$home"
start s3 "$python" -m moto.server -H 127.0.0.1 -p 29500
start simulator genvideo simulate --port 28787 --scale 0.01
until_true Postgres "$postgres/pg_isready" -h 127.0.0.1 -p 25432
until_true Redis redis-cli -p 26379 ping
as_postgres "$postgres/createdb" -h 127.0.0.1 -p 25432 -U prefect prefect

# What compose.yaml's x-server-environment says, with these addresses.
export PREFECT_HOME="$home/prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_SERVER_DATABASE_CONNECTION_URL=postgresql+asyncpg://prefect@127.0.0.1:25432/prefect
export PREFECT_SERVER_DATABASE_MIGRATE_ON_START=false PREFECT_SERVER_UI_ENABLED=false
export PREFECT_MESSAGING_BROKER=prefect_redis.messaging PREFECT_MESSAGING_CACHE=prefect_redis.messaging
export PREFECT_SERVER_EVENTS_CAUSAL_ORDERING=prefect_redis.ordering
export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect_redis.lease_storage
export PREFECT_REDIS_MESSAGING_HOST=127.0.0.1 PREFECT_REDIS_MESSAGING_PORT=26379 PREFECT_REDIS_MESSAGING_DB=0
export PREFECT_SERVER_DOCKET_URL=redis://127.0.0.1:26379/1
prefect server database upgrade -y >"$home/migrate.log" 2>&1 || { cat "$home/migrate.log" >&2; exit 1; }
start server-1 prefect server start --no-services --host 127.0.0.1 --port 24201
until_true "the first API replica" curl -fs http://127.0.0.1:24201/api/health
# Not at once: on an empty database the first one registers Prefect's own block types, and the other would fail on them.
start server-2 prefect server start --no-services --host 127.0.0.1 --port 24202
start services prefect server services start
until_true "the second API replica" curl -fs http://127.0.0.1:24202/api/health
echo "Postgres, Redis, two API replicas and the services run."

export PREFECT_API_URL=http://127.0.0.1:24201/api GENVIDEO_ENVIRONMENT=simulator GENVIDEO_BUCKET=genvideo
export GENVIDEO_SIMULATOR_URL=http://127.0.0.1:28787 GENVIDEO_S3_ENDPOINT_URL=http://127.0.0.1:29500
export GENVIDEO_S3_ACCESS_KEY_ID=genvideo GENVIDEO_S3_SECRET_ACCESS_KEY=genvideo-simulator
until_true "the S3 server" curl -s http://127.0.0.1:29500
sh deployments/setup.sh >"$home/setup.log" 2>&1 || { cat "$home/setup.log" >&2; exit 1; }
grep -E '^(created|changed|kept)' "$home/setup.log"

# Workers in a folder that is not the clone, one at each replica; told where the flows are, as the image tells its own.
export GENVIDEO_HOME=$PWD
mkdir "$home/elsewhere"
cd "$home/elsewhere"
export PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL=1 PREFECT_WORKER_QUERY_SECONDS=2
start worker-1 prefect worker start --pool genvideo --type process --name first --limit 2
PREFECT_API_URL=http://127.0.0.1:24202/api start worker-2 prefect worker start --pool genvideo --type process --name second --limit 2

for number in 1 2 3 4; do
  # Each event twice, once at each replica.
  for port in 24201 24202; do
    curl -fsS "http://127.0.0.1:$port/api/events" -H 'Content-Type: application/json' -d "[{
      \"id\": \"00000000-0000-4000-8000-00000000000$number\", \"occurred\": \"$(date -u +%FT%TZ)\",
      \"event\": \"video.requested\", \"resource\": {\"prefect.resource.id\": \"check.$number\"},
      \"payload\": {\"prompt\": \"check $number\", \"duration\": 4}}]"
  done
done
videos() { test "$(curl -fs http://127.0.0.1:29500/genvideo | grep -o '<Key>[^<]*\.mp4</Key>' | wc -l)" -ge 4; }
LIMIT=400 until_true "four videos" videos
paid=$(curl -fs http://127.0.0.1:28787/_sim/state | "$python" -c 'import json, sys; print(json.load(sys.stdin)["billed"])')
echo "Four events, each told twice: four videos, $paid paid for."
test "$paid" = 4
for worker in worker-1 worker-2; do
  echo "$worker: $(grep -c 'Finished in state Completed' "$home/$worker.log" || true) finished runs and steps"
done
