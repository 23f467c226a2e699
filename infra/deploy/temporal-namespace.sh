#!/bin/sh
# The namespace with its retention and our search attributes; run again, it changes nothing.
# The temporal CLI reads TEMPORAL_ADDRESS by itself; `namespace create` does not look at TEMPORAL_NAMESPACE.
set -eu
: "${TEMPORAL_ADDRESS:?}" "${TEMPORAL_NAMESPACE:?}" "${RETENTION:?}" "${KEYWORD_ATTRIBUTES:?}" "${DATETIME_ATTRIBUTES:?}"

attempt=0
until temporal operator cluster health >/dev/null 2>&1; do
    attempt=$((attempt + 1))
    if [ "$attempt" -ge 60 ]; then
        echo "Temporal at $TEMPORAL_ADDRESS is not healthy after $attempt attempts" >&2
        exit 1
    fi
    sleep 2
done

if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
    temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
else
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "$RETENTION"
fi

attributes() { # type, names; one call each: of several names in one call only the first was seen to arrive
    type="$1"
    shift
    for name; do
        temporal operator search-attribute create \
            --namespace "$TEMPORAL_NAMESPACE" --type "$type" --name "$name" || return 1
    done
}

# A new namespace reaches every part of the server within some seconds.
attempt=0
# shellcheck disable=SC2086 # the lists are words on purpose
until attributes Keyword $KEYWORD_ATTRIBUTES && attributes Datetime $DATETIME_ATTRIBUTES; do
    attempt=$((attempt + 1))
    if [ "$attempt" -ge 30 ]; then
        echo "The search attributes could not be created after $attempt attempts" >&2
        exit 1
    fi
    sleep 2
done
