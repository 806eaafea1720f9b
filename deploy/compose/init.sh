#!/bin/sh
# Creates the secrets that docker-compose.yml needs: .env with random values (mode 0600), and a self-signed certificate for the
# given name, to be replaced by a real one. Existing files are never overwritten; secrets that a later release needs are added
# to .env.
#
# usage: deploy/compose/init.sh [HOST NAME]        the name in the MX record; default mail.example.test
set -eu
umask 077
cd "$(dirname "$0")/../.."
host=${1:-mail.example.test}
tls=deploy/compose/private/tls

case $host in
  "" | -* | .* | *. | *..* | *.-* | *-.* | *- | *[!A-Za-z0-9.-]*) echo "init.sh: not a host name: $host" >&2; exit 2 ;;
esac
# labels of at most 63 characters and names of at most 253, as the services require
if [ "${#host}" -gt 253 ] || printf '%s' "$host" | grep -Eq '[^.]{64}'; then
  echo "init.sh: not a host name: $host" >&2
  exit 2
fi
for tool in openssl od tr; do
  command -v "$tool" >/dev/null || { echo "init.sh: $tool is needed" >&2; exit 1; }
done

hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# The derived key of smtp-in and submission, as posthorn-keys prints it: HMAC-SHA-256 under each key of the list.
derived() {
  echo "$1" | tr , '\n' | while read -r key; do
    hexkey=$(printf '%s' "$key" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
    printf 'posthorn srs' | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hexkey" -binary | openssl base64 -A
    echo
  done | paste -sd, -
}

if [ -e .env ]; then
  echo "init.sh: .env exists already and keeps its values" >&2
else
  # written atomically: a truncated file would start Posthorn with half of its secrets
  trap 'rm -f .env.new' EXIT
  cat >.env.new <<END
# Created by deploy/compose/init.sh. Keep a copy in a safe place: without POSTHORN_SECRET_KEY the DKIM keys and the passwords of
# routes cannot be decrypted.
POSTHORN_HOSTNAME=$host
POSTHORN_SECRET_KEY=$(openssl rand -base64 32)
POSTHORN_API_ADMIN_KEY=ph_$(hex 32)
POSTGRES_PASSWORD=p$(hex 24)
NATS_PASSWORD=p$(hex 24)
S3_ACCESS_KEY=GK$(hex 12)
S3_SECRET_KEY=$(hex 32)
GARAGE_RPC_SECRET=$(hex 32)

# For a public host:
#POSTHORN_BIND=0.0.0.0
#POSTHORN_SMTP_PORT=25
#POSTHORN_SUBMISSION_PORT=587
#POSTHORN_SUBMISSIONS_PORT=465
#POSTHORN_IMAP_PORT=143
#POSTHORN_IMAPS_PORT=993
#POSTHORN_POP3_PORT=110
#POSTHORN_POP3S_PORT=995
# A directory with tls.crt and tls.key that user 10001 can read; a renewed certificate is loaded without a restart:
#POSTHORN_TLS_SOURCE=/etc/posthorn/tls
# Smart hosts only: with false, nothing is sent to the MX hosts of other domains, only to the routes set in the API.
#POSTHORN_RELAY_DIRECT=false
# Engines of scan, each optional: rspamd, ClamAV (1.5 GiB of memory), a recursive resolver, which most blocklists demand:
#COMPOSE_PROFILES=rspamd,clamav,resolver
#POSTHORN_SCAN_RSPAMD_URL=http://rspamd:11333
#POSTHORN_SCAN_CLAMAV_ADDRESS=clamav:3310
#POSTHORN_SCAN_DNS_SERVERS=["127.0.0.1:5335"]
END
  mv .env.new .env
fi

# passwords of the services, and derived keys
{
  for part in SMTP_IN SUBMISSION DELIVERY SCAN RELAY POP3 IMAP API; do
    grep -q "^NATS_${part}_PASSWORD=" .env || echo "NATS_${part}_PASSWORD=p$(hex 24)"
    [ $part = SMTP_IN ] || [ $part = SCAN ] || grep -q "^POSTGRES_${part}_PASSWORD=" .env || echo "POSTGRES_${part}_PASSWORD=p$(hex 24)"
  done
  grep -q '^POSTHORN_SRS_KEY=' .env ||
    echo "POSTHORN_SRS_KEY=$(derived "$(sed -n 's/^POSTHORN_SECRET_KEY=//p' .env)")"
} >.env.more
if [ -s .env.more ]; then
  trap 'rm -f .env.more .env.new' EXIT
  { cat .env; echo; cat .env.more; } >.env.new
  mv .env.new .env
fi
rm -f .env.more

if [ -e "$tls/tls.crt" ] || [ -e "$tls/tls.key" ]; then
  echo "init.sh: $tls contains a certificate already" >&2
else
  # private/ is closed to other users of this host; the files in it are readable, because the container's user 10001 must read them
  mkdir -p "$tls"
  # a common name has at most 64 characters (RFC 5280 appendix A); clients read the alternative name (RFC 9525)
  subject=/CN=$host
  [ "${#host}" -le 64 ] || subject=/O=Posthorn
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -sha256 \
    -subj "$subject" -addext "subjectAltName=DNS:$host,DNS:localhost,IP:127.0.0.1" \
    -keyout "$tls/tls.key.new" -out "$tls/tls.crt.new" 2>/dev/null
  chmod 0644 "$tls/tls.key.new" "$tls/tls.crt.new"
  mv "$tls/tls.key.new" "$tls/tls.key"
  mv "$tls/tls.crt.new" "$tls/tls.crt"
  chmod 0755 "$tls"
fi
echo "init.sh: now run: docker compose up --wait"
