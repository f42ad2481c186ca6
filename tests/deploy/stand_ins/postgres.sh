# As the image of PostgreSQL begins: a database, its owner and the password are what the environment says.
set -eu
data=/var/lib/postgresql/data
mkdir -p /run/postgresql "$data"
chown postgres:postgres /run/postgresql "$data"
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
if [ ! -e "$data/PG_VERSION" ]; then
    printf '%s' "$POSTGRES_PASSWORD" > /run/postgresql/password
    chown postgres /run/postgresql/password
    $as initdb --pgdata="$data" --username="$POSTGRES_USER" --pwfile=/run/postgresql/password --auth-host=scram-sha-256 --auth-local=trust \
        --encoding=UTF8 --locale=C.UTF-8
    rm /run/postgresql/password
    echo 'host all all all scram-sha-256' >> "$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | $as postgres --single -D "$data" postgres
fi
exec $as postgres -D "$data" -c 'listen_addresses=*'
