#!/bin/sh
# Brings Temporal's two databases to the schema of this release; run again, it changes nothing.
set -eu
: "${SQL_HOST:?}" "${SQL_USER:?}" "${SQL_PASSWORD:?}"
export SQL_PLUGIN=postgres12 SQL_PORT="${SQL_PORT:-5432}"
schemas="${TEMPORAL_SCHEMAS:-/etc/temporal/schema/postgresql/v12}"

bring_up() { # database, schema
    SQL_DATABASE="$1" temporal-sql-tool setup-schema --version 0.0
    SQL_DATABASE="$1" temporal-sql-tool update-schema --schema-dir "$schemas/$2/versioned"
}

bring_up temporal temporal
bring_up temporal_visibility visibility
