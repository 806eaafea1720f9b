{{/* Shared parts of the bundled servers, and their configurations. */}}

{{- define "posthorn.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* No labels with versions: the template of a claim cannot be changed. */}}
{{- define "posthorn.claim" -}}
- metadata:
    name: data
    labels:
      {{- include "posthorn.selectorLabels" .root | nindent 6 }}
  spec:
    accessModes: {{ toJson .storage.accessModes }}
    {{- with .storage.className }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests: {storage: {{ .storage.size }}}
{{- end -}}

{{/*
The beginning of the command of a server that must have exclusive use of its volume; the server's own command follows. Takes the
directory that the volume is mounted at.

After a forced deletion the successor starts while the old container still runs for some seconds. ReadWriteOnce admits both on
one node, and a file with a process id does not help, because every container has a process 1. So the server's processes hold a lock
on a file of the volume for as long as one of them lives, and the successor waits for it.
*/}}
{{- define "posthorn.alone" -}}
- sh
- -c
- |
  exec 9>>{{ . }}/.posthorn.lock
  trap 'exit 143' INT TERM
  said=
  while command -v flock >/dev/null; do
    status=0
    flock -n 9 || status=$?
    if [ "$status" = 0 ]; then break; fi
    if [ "$status" != 1 ]; then echo "this volume knows no locks" >&2; break; fi
    [ -n "$said" ] || echo "waiting for the server that still runs on this volume" >&2
    said=yes
    sleep 0.2 || sleep 1
  done
  trap - INT TERM
  exec "$@"
- sh
{{- end -}}

{{/*
For Garage, whose image has no shell: an init container that waits. Garage's SQLite keeps its lock on the database
(SQLite, "The WAL-mode file format", and os_unix.c: 510 bytes from 0x40000002) for as long as Garage lives. Takes root.
*/}}
{{- define "posthorn.awaitAlone" -}}
- name: alone
  image: {{ include "posthorn.image" (dict "root" .root "image" .root.Values.api.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command:
    - python
    - -Sc
    - |
      import fcntl, os, time
      path = "/var/lib/garage/meta/db.sqlite"
      while os.path.exists(path):
          with open(path, "r+b") as file:
              try:
                  fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
                  break
              except BlockingIOError:
                  print("waiting for the server that still runs on this volume", flush=True)
          time.sleep(0.5)
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {memory: 64Mi}
  securityContext:
    {{- include "posthorn.containerSecurity" .root | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /var/lib/garage}
{{- end -}}

{{- define "posthorn.natsConfig" -}}
server_name: $POD_NAME
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
pid_file: "/tmp/nats.pid"
max_payload: 1MB
lame_duck_grace_period: "10s"
lame_duck_duration: "30s"
jetstream {
  store_dir: "/data"
  max_file_store: {{ include "posthorn.natsBytes" . }}
  # with the default of two minutes a power failure would lose mail that was answered with 250
  sync_interval: always
}
{{ .Files.Get "files/nats-users.conf" | trim }}
{{- if gt (int .Values.nats.bundled.replicas) 1 }}
cluster {
  name: {{ include "posthorn.fullname" . | quote }}
  listen: "0.0.0.0:6222"
  authorization {
    user: posthorn
    password: $NATS_PASSWORD
  }
}
{{- end }}
{{- end -}}

{{- define "posthorn.garageConfig" -}}
metadata_dir = "/var/lib/garage/meta"
data_dir = "/var/lib/garage/data"
db_engine = "sqlite"
replication_factor = 1
# a body is synced to disk before the request is answered
metadata_fsync = true
data_fsync = true
# bodies are already compressed where that helps
compression_level = "none"
rpc_bind_addr = "127.0.0.1:3901"
rpc_public_addr = "127.0.0.1:3901"

[s3_api]
api_bind_addr = "[::]:3900"
s3_region = "garage"

# without a token it serves health and metrics only
[admin]
api_bind_addr = "[::]:3903"
{{- end -}}
