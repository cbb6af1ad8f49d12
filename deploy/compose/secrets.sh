#!/bin/sh
# Keys and passwords for compose.yaml, once, into the folder beside this file; what is there stays.
set -eu

folder=$(dirname "$0")/secrets
umask 077
mkdir -p "$folder"
secret() { [ -s "$folder/$1" ] || printf 'p%s' "$(openssl rand -hex 24)" > "$folder/$1"; }
for name in jwt-secret gateway router service observer operator system route; do secret "$name"; done
# The containers run as other users than yours; the folder itself is yours alone on a machine of your own.
chmod 0755 "$folder"
chmod 0444 "$folder/jwt-secret" "$folder/gateway" "$folder/router"

{
  for name in gateway router service observer operator system route; do
    printf 'NATS_%s_PASSWORD=%s\n' "$(echo "$name" | tr '[:lower:]' '[:upper:]')" "$(cat "$folder/$name")"
  done
  route=$(cat "$folder/route")
  printf 'NATS_ROUTES=[nats-route://route:%s@nats-1:6222, nats-route://route:%s@nats-2:6222, nats-route://route:%s@nats-3:6222]\n' "$route" "$route" "$route"
} > "$folder/nats.env"
echo "secrets are in $folder"
