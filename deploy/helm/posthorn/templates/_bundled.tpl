{{/* What the bundled servers share, and their configurations. */}}

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
    accessModes: [ReadWriteOnce]
    {{- with .storage.className }}
    storageClassName: {{ . }}
    {{- end }}
    resources:
      requests: {storage: {{ .storage.size }}}
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
  max_file_store: {{ include "posthorn.natsOctets" . }}
  # the default of two minutes would lose mail that was answered with 250 when the power goes
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
# a body is on the disk before Posthorn is told so
metadata_fsync = true
data_fsync = true
# bodies come compressed as far as that helps
compression_level = "none"
rpc_bind_addr = "127.0.0.1:3901"
rpc_public_addr = "127.0.0.1:3901"

[s3_api]
api_bind_addr = "[::]:3900"
s3_region = "garage"

# without a token it tells its health and metrics, and nothing else
[admin]
api_bind_addr = "[::]:3903"
{{- end -}}
