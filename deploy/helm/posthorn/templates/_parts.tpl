{{/*
The services ("parts") by the names of their Deployments: the key of their values, what they need, and the ports they listen on.
Ports inside a container are above 1024; those with ``proxy`` require a PROXY header. A port with ``tls`` is offered only with a
certificate.
*/}}
{{- define "posthorn.parts" -}}
smtp-in:
  key: smtpIn
  needs: [nats, s3, srsKey, tls, hostname, proxy]
  env: {POSTHORN_SMTP_ROLE: mx}
  scanned: true
  sessions: posthorn_smtp_in_sessions
  ports:
    smtp: {container: 2525, variable: POSTHORN_SMTP_PORT, proxy: 3525, proxyVariable: POSTHORN_SMTP_PROXY_PORT, service: 25}
submission:
  key: submission
  needs: [nats, postgresql, s3, srsKey, tls, hostname, proxy, accountLimits]
  env: {POSTHORN_SMTP_ROLE: submission}
  sessions: posthorn_smtp_in_sessions
  ports:
    submission: {container: 2587, variable: POSTHORN_SUBMISSION_PORT, proxy: 3587, proxyVariable: POSTHORN_SUBMISSION_PROXY_PORT, service: 587}
    submissions: {container: 2465, variable: POSTHORN_SUBMISSIONS_PORT, proxy: 3465, proxyVariable: POSTHORN_SUBMISSIONS_PROXY_PORT, service: 465, tls: true}
delivery:
  key: delivery
  needs: [nats, postgresql, s3, secretKey]
scan:
  key: scan
  needs: [nats, s3, hostname]
relay:
  key: relay
  needs: [nats, postgresql, s3, secretKey, internet, outgoing]
pop3:
  key: pop3
  needs: [nats, postgresql, s3, tls, proxy]
  sessions: posthorn_pop3_sessions
  ports:
    pop3: {container: 2110, variable: POSTHORN_POP3_PORT, proxy: 3110, proxyVariable: POSTHORN_POP3_PROXY_PORT, service: 110}
    pop3s: {container: 2995, variable: POSTHORN_POP3S_PORT, proxy: 3995, proxyVariable: POSTHORN_POP3S_PROXY_PORT, service: 995, tls: true}
imap:
  key: imap
  needs: [nats, postgresql, s3, tls, proxy]
  sessions: posthorn_imap_connections
  ports:
    imap: {container: 2143, variable: POSTHORN_IMAP_PORT, proxy: 3143, proxyVariable: POSTHORN_IMAP_PROXY_PORT, service: 143}
    imaps: {container: 2993, variable: POSTHORN_IMAPS_PORT, proxy: 3993, proxyVariable: POSTHORN_IMAPS_PROXY_PORT, service: 993, tls: true}
api:
  key: api
  needs: [nats, postgresql, s3, secretKey, hostname, adminKey, accountLimits, outgoing, public, webhooks]
  ports:
    http: {container: 8080, variable: POSTHORN_API_PORT, service: 8080}
{{- end -}}

{{/* The enabled services, with their values and full names, as YAML. */}}
{{- define "posthorn.enabledParts" -}}
{{- $tls := include "posthorn.tlsSecret" . -}}
{{- $parts := dict -}}
{{- range $name, $part := include "posthorn.parts" . | fromYaml -}}
{{- $values := index $.Values $part.key -}}
{{- if dig "enabled" true $values -}}
{{- $ports := dict -}}
{{- range $port, $facts := $part.ports | default dict -}}
{{- if or $tls (not $facts.tls) -}}{{- $_ := set $ports $port $facts -}}{{- end -}}
{{- end -}}
{{- $_ := set $part "ports" $ports -}}
{{- $_ := set $part "name" $name -}}
{{- $_ := set $part "fullname" (printf "%s-%s" (include "posthorn.fullname" $) $name) -}}
{{- $_ := set $part "proxied" (and $.Values.proxyProtocol.enabled (has "proxy" $part.needs)) -}}
{{- $_ := set $parts $name $part -}}
{{- end -}}
{{- end -}}
{{- toYaml $parts -}}
{{- end -}}

{{/* The environment of a service. Takes root, part and values. */}}
{{- define "posthorn.env" -}}
{{- $v := .root.Values -}}
{{- $needs := .part.needs -}}
- {name: POSTHORN_LOG_LEVEL, value: {{ $v.logLevel | quote }}}
- {name: POSTHORN_HEALTH_PORT, value: "9100"}
- {name: POSTHORN_GRACE_SECONDS, value: {{ include "posthorn.text" .values.graceSeconds | quote }}}
{{- range $name, $value := .part.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- if hasKey .values "processes" }}
- {name: POSTHORN_SMTP_PROCESSES, value: {{ include "posthorn.text" .values.processes | quote }}}
{{- end }}
{{- if .part.scanned }}
- {name: POSTHORN_SMTP_SCAN, value: {{ $v.scan.enabled | quote }}}
{{- end }}
{{- range $port := .part.ports }}
- {name: {{ $port.variable }}, value: "{{ $port.container }}"}
{{- end }}
{{- if .part.proxied }}
- {name: POSTHORN_PROXY_NETWORKS, value: {{ join "," $v.proxyProtocol.networks | quote }}}
{{- range $port := .part.ports }}
- {name: {{ $port.proxyVariable }}, value: "{{ $port.proxy }}"}
{{- end }}
{{- end }}
{{- if has "hostname" $needs }}
- {name: POSTHORN_SMTP_HOSTNAME, value: {{ $v.hostname | quote }}}
{{- end }}
{{- if has "accountLimits" $needs }}
- {name: POSTHORN_SUBMISSION_MESSAGES_PER_HOUR, value: {{ include "posthorn.text" $v.accountLimits.messagesPerHour | quote }}}
- {name: POSTHORN_SUBMISSION_RECIPIENTS_PER_HOUR, value: {{ include "posthorn.text" $v.accountLimits.recipientsPerHour | quote }}}
{{- end }}
{{- if has "outgoing" $needs }}
- {name: POSTHORN_RELAY_HOSTNAME, value: {{ default $v.hostname $v.relay.hostname | quote }}}
{{- end }}
{{- if has "public" $needs }}
{{- include "posthorn.publicEnv" .root }}
{{- end }}
{{- if eq .part.key "api" }}
- {name: POSTHORN_RUNBOOK_BASE_URL, value: {{ $v.monitoring.prometheusRule.runbookBaseUrl | quote }}}
{{- end }}
{{- if eq .part.key "scan" }}
{{- include "posthorn.engineEnv" .root }}
{{- end }}
{{- if eq .part.key "relay" }}
{{- if .values.proxy.existingSecret }}
- name: POSTHORN_RELAY_PROXY
  valueFrom: {secretKeyRef: {name: {{ .values.proxy.existingSecret }}, key: {{ .values.proxy.key }}}}
{{- end }}
{{- end }}
{{- if and (has "tls" $needs) (include "posthorn.tlsSecret" .root) }}
- {name: POSTHORN_TLS_DIR, value: /etc/posthorn/tls}
{{- end }}
{{- if has "secretKey" $needs }}
- name: POSTHORN_SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-secret-key" (include "posthorn.fullname" .root)) $v.secretKey.existingSecret }}
      key: {{ ternary $v.secretKey.key "secret-key" (ne $v.secretKey.existingSecret "") }}
{{- end }}
{{- if has "srsKey" $needs }}
{{- $given := and $v.secretKey.existingSecret $v.secretKey.srsKey }}
- name: POSTHORN_SRS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ ternary $v.secretKey.existingSecret (printf "%s-srs-key" (include "posthorn.fullname" .root)) (ne (default "" $given) "") }}
      key: {{ default "srs-key" $given }}
{{- end }}
{{- if has "adminKey" $needs }}
- name: POSTHORN_API_ADMIN_KEY
  valueFrom:
    secretKeyRef:
      name: {{ default (printf "%s-admin-key" (include "posthorn.fullname" .root)) $v.api.adminKey.existingSecret }}
      key: {{ ternary $v.api.adminKey.key "admin-key" (ne $v.api.adminKey.existingSecret "") }}
{{- end }}
{{- if has "postgresql" $needs }}
{{ include "posthorn.urlEnv" (dict "root" .root "store" "postgresql" "part" .part.name "variable" "POSTHORN_DATABASE_URL") }}
- {name: POSTHORN_DATABASE_POOL, value: {{ include "posthorn.text" $v.postgresql.pool | quote }}}
- {name: POSTHORN_DATABASE_PREPARED, value: {{ $v.postgresql.preparedStatements | quote }}}
{{- end }}
{{- if has "nats" $needs }}
{{ include "posthorn.urlEnv" (dict "root" .root "store" "nats" "part" .part.name "variable" "POSTHORN_NATS_URL") }}
{{- if include "posthorn.credsSecret" (dict "root" .root "part" .part.name) }}
- {name: POSTHORN_NATS_CREDS_FILE, value: /etc/posthorn/nats/{{ $v.nats.credsKey }}}
{{- end }}
- {name: POSTHORN_NATS_REPLICAS, value: {{ include "posthorn.streamReplicas" .root | quote }}}
- {name: POSTHORN_INGEST_MAX_BYTES, value: {{ include "posthorn.text" $v.nats.ingestMaxBytes | quote }}}
- {name: POSTHORN_INGEST_PARTITIONS, value: {{ include "posthorn.text" $v.nats.ingestPartitions | quote }}}
- {name: POSTHORN_DEAD_MAX_BYTES, value: {{ include "posthorn.text" $v.nats.deadMaxBytes | quote }}}
- {name: POSTHORN_EVENTS_MAX_BYTES, value: {{ include "posthorn.text" $v.nats.eventsMaxBytes | quote }}}
- {name: POSTHORN_EVENTS_MAX_AGE_SECONDS, value: {{ include "posthorn.text" $v.nats.eventsMaxAgeSeconds | quote }}}
{{- end }}
{{- if has "s3" $needs }}
- {name: POSTHORN_BLOBS, value: {{ printf "s3://%s" $v.s3.bucket | quote }}}
{{- if $v.s3.bundled.enabled }}
- {name: POSTHORN_S3_ENDPOINT, value: "http://{{ include "posthorn.fullname" .root }}-s3:3900"}
- {name: POSTHORN_S3_REGION, value: garage}
{{- else }}
{{- with $v.s3.endpoint }}
- {name: POSTHORN_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with $v.s3.region }}
- {name: POSTHORN_S3_REGION, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- with default (include "posthorn.s3Secret" .root) (get $v.s3.partSecrets .part.name) }}
- name: POSTHORN_S3_ACCESS_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ ternary "access-key" $v.s3.accessKeyKey $v.s3.bundled.enabled }}}}
- name: POSTHORN_S3_SECRET_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ ternary "secret-key" $v.s3.secretKeyKey $v.s3.bundled.enabled }}}}
{{- end }}
{{- end }}
{{- $read := index (.root.Files.Get "files/settings.json" | fromJson) .part.key -}}
{{- /* not merge: it treats false and 0 as unset */}}
{{- $settings := dict }}
{{- range $map := list $v.settings .values.settings }}
{{- range $name, $value := $map }}
{{- if has $name $read }}{{- $_ := set $settings $name $value }}{{- end }}
{{- end }}
{{- end }}
{{- range $name, $value := $settings }}
- {name: {{ $name }}, value: {{ include "posthorn.text" $value | quote }}}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The URL of a store: the service's own, or the shared one. Takes root, store (postgresql or nats), part and variable. */}}
{{- define "posthorn.urlEnv" -}}
{{- $own := include "posthorn.partSecret" . -}}
{{- $block := index .root.Values .store -}}
{{- $shared := include (ternary "posthorn.natsSecret" "posthorn.postgresSecret" (eq .store "nats")) .root -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ default $shared $own }}
      key: {{ ternary $block.urlKey "url" (and (not $block.bundled.enabled) (ne (default $block.existingSecret $own) "")) }}
{{- end -}}

{{/* The Secret with a service's own login on a store; empty if it uses the shared one. Takes root, store and part. */}}
{{- define "posthorn.partSecret" -}}
{{- $block := index .root.Values .store -}}
{{- with get $block.partSecrets .part -}}
{{- . -}}
{{- else -}}
{{- if and .part $block.bundled.enabled (not $block.bundled.existingSecret) -}}
{{- printf "%s-%s-%s" (include "posthorn.fullname" .root) .store .part -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The Secret with a service's credentials file for an external NATS. Takes root and part. */}}
{{- define "posthorn.credsSecret" -}}
{{- if not .root.Values.nats.bundled.enabled -}}
{{- default .root.Values.nats.credsSecret (get .root.Values.nats.partCredsSecrets .part) -}}
{{- end -}}
{{- end -}}

{{/* The names of all services that log in to a store, enabled or not, separated by commas. Takes store. */}}
{{- define "posthorn.partsOn" -}}
{{- $names := list -}}
{{- range $name, $part := include "posthorn.parts" . | fromYaml -}}
{{- if has $.store $part.needs }}{{ $names = append $names $name }}{{ end -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* The host that serves the API over HTTPS; empty where the chart exposes it by nothing. */}}
{{- define "posthorn.apiHost" -}}
{{- with .Values.api -}}
{{- ternary .ingress.host (ternary .httpRoute.host "" .httpRoute.enabled) .ingress.enabled -}}
{{- end -}}
{{- end -}}

{{/* The names and ports for DNS records and mail clients. A port is offered if its service is enabled and clients can log in on it. */}}
{{- define "posthorn.publicEnv" -}}
{{- $public := .Values.public -}}
{{- $tls := include "posthorn.tlsSecret" . -}}
{{- $texts := dict "MX" (join "," $public.mx) "SUBMISSION" $public.submission "IMAP" $public.imap "POP3" $public.pop3 "MTA_STS" $public.mtaSts "SPF_INCLUDE" $public.spfInclude "REPORTS" $public.reports -}}
{{- $_ := set $texts "WEB" (default (include "posthorn.apiHost" .) $public.web) -}}
{{- range $name, $text := $texts }}
{{- with $text }}
- {name: POSTHORN_PUBLIC_{{ $name }}, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- range $part, $facts := include "posthorn.parts" . | fromYaml }}
{{- if has $part (list "submission" "imap" "pop3") }}
{{- range $port, $numbers := $facts.ports }}
{{- $number := ternary $numbers.service 0 (and (index $.Values $part).enabled (ne $tls "")) }}
{{- $told := index $public (printf "%sPort" $port) }}
{{- if not (kindIs "invalid" $told) }}{{- $number = $told }}{{- end }}
- {name: POSTHORN_PUBLIC_{{ upper $port }}_PORT, value: {{ include "posthorn.text" $number | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.outboundAddresses }}
- {name: POSTHORN_OUTBOUND_ADDRESSES, value: {{ join "," . | quote }}}
{{- end }}
{{- end -}}

{{/* Seconds until a pod is killed. Takes values. */}}
{{- define "posthorn.terminationGrace" -}}
{{- if .values.terminationGracePeriodSeconds -}}
{{- int .values.terminationGracePeriodSeconds -}}
{{- else -}}
{{- add (int .values.preStopSeconds) (int (ceil .values.graceSeconds)) 30 -}}
{{- end -}}
{{- end -}}
