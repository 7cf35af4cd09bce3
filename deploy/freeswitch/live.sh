#!/bin/sh
# Tells Tenantry which calls live on this FreeSWITCH: from cron or a timer, every 15
# seconds. It says that none lives only when FreeSWITCH says so.
set -eu
: "${ADMISSION:=http://127.0.0.1:8077/admission/v1}" "${SWITCH:=$(fs_cli -x switchname)}" "${HEADER:=/etc/freeswitch/tenantry.header}"
put() { curl -fsS -m 10 -X PUT -H "@$HEADER" -H "Content-Type: $1" --data-binary @- "$ADMISSION/switches/$SWITCH/live"; }

channels=$(fs_cli -x 'show channels')
calls=$(printf '%s\n' "$channels" | grep -oE '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}' || true)
if [ -n "$calls" ]; then
  printf '%s\n' "$calls" | put text/plain
elif printf '%s\n' "$channels" | grep -q '^0 total'; then
  printf '{"call_ids":[]}' | put application/json
else
  echo "FreeSWITCH does not say which calls live" >&2
  exit 1
fi
