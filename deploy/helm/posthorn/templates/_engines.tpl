{{/* Configurations of the optional engines of the scanning tier, and what scan is told of them. */}}

{{/* Where scan finds its engines and resolvers, as variables. Takes root. */}}
{{- define "posthorn.engineEnv" -}}
{{- $full := include "posthorn.fullname" . -}}
{{- with ternary (printf "http://%s-rspamd:11333" $full) .Values.rspamd.url .Values.rspamd.enabled }}
- {name: POSTHORN_SCAN_RSPAMD_URL, value: {{ . | quote }}}
{{- end }}
{{- with ternary (printf "%s-clamav:3310" $full) .Values.clamav.address .Values.clamav.enabled }}
- {name: POSTHORN_SCAN_CLAMAV_ADDRESS, value: {{ . | quote }}}
{{- end }}
{{- with ternary (list "127.0.0.1:5335") .Values.resolver.addresses .Values.resolver.enabled }}
- {name: POSTHORN_SCAN_DNS_SERVERS, value: {{ toJson . | quote }}}
{{- end }}
{{- end -}}

{{/*
The recursive resolver: a container in each pod that asks DNS for the scanning tier, since resolvers are known by address and a
Service has none before it exists. It listens on loopback alone. Takes root.
*/}}
{{- define "posthorn.resolver" -}}
- name: resolver
  image: {{ include "posthorn.foreignImage" .Values.resolver.image }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: ["-d", "-c", "/etc/unbound/posthorn/unbound.conf"]
  {{- with .Values.resolver.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "posthorn.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: resolver, mountPath: /etc/unbound/posthorn, readOnly: true}
{{- end -}}

{{- define "posthorn.unboundConfig" -}}
server:
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "/etc/unbound/posthorn"
  pidfile: ""
  logfile: ""
  use-syslog: no
  verbosity: 0
  interface: 127.0.0.1
  port: 5335
  access-control: 127.0.0.0/8 allow
  edns-buffer-size: 1232
  msg-cache-size: 16m
  rrset-cache-size: 32m
  cache-max-ttl: 3600
  cache-max-negative-ttl: 300
  prefetch: yes
  qname-minimisation: yes
  harden-dnssec-stripped: yes
  module-config: "validator iterator"
  # the keys of the root zone (IANA), of 2017 and 2024
  trust-anchor: ". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D"
  trust-anchor: ". DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16"
remote-control:
  control-enable: no
{{- end -}}

{{/* Files of rspamd's override.d, those of rspamd.overrides in the place of the chart's. */}}
{{- define "posthorn.rspamdFiles" -}}
{{- $dns := ternary "nameserver = [\"127.0.0.1:5335:1\"]; " "" .Values.resolver.enabled -}}
{{- $files := dict
  "options.inc" (printf "local_addrs = [];\ndns { %stimeout = 1s; retransmits = 2; }\n" $dns)
  "logging.inc" "type = \"console\";\nlevel = \"notice\";\n"
  "worker-normal.inc" (printf "bind_socket = \"*:11333\";\ncount = %d;\n" (int .Values.rspamd.workers))
  "worker-controller.inc" "bind_socket = \"127.0.0.1:11334\";\n"
  "worker-proxy.inc" "enabled = false;\n"
  "worker-fuzzy.inc" "enabled = false;\n"
  "greylist.conf" "enabled = false;\n"
  "ratelimit.conf" "enabled = false;\n"
  "fuzzy_check.conf" "enabled = false;\n" -}}
{{- range $name, $text := .Values.rspamd.overrides -}}{{- $_ := set $files $name $text -}}{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{/* Both programs read the same directory; neither switches users, since the pod has none of theirs. */}}
{{- define "posthorn.clamdConfig" -}}
Foreground yes
TCPSocket 3310
DatabaseDirectory /var/lib/clamav
TemporaryDirectory /tmp
StreamMaxLength 100M
MaxThreads {{ int .Values.clamav.threads }}
# a second copy of the signatures in memory while they are renewed is what kills its container
ConcurrentDatabaseReload no
ExitOnOOM yes
{{- end -}}

{{- define "posthorn.freshclamConfig" -}}
Foreground yes
DatabaseDirectory /var/lib/clamav
{{- with .Values.clamav.mirror }}
PrivateMirror {{ . }}
{{- else }}
DatabaseMirror database.clamav.net
{{- end }}
Checks {{ int .Values.clamav.checksPerDay }}
NotifyClamd /etc/posthorn/clamd.conf
# a test would load all signatures a second time
TestDatabases no
{{- end -}}

{{/* A recursive resolver asks the servers of the whole Internet. Takes root. */}}
{{- define "posthorn.resolverEgress" -}}
{{- if .Values.resolver.enabled -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}
{{- end -}}

{{/* Contradictions in the values of the engines, one per line. Takes root. */}}
{{- define "posthorn.engineFaults" -}}
{{- $faults := list -}}
{{- $v := .Values -}}
{{- range $engine, $own := dict "rspamd" "url" "clamav" "address" "resolver" "addresses" -}}
{{- $block := index $v $engine -}}
{{- if and $block.enabled (index $block $own) -}}
{{- $faults = append $faults (printf "%s.%s: must be empty while %s.enabled is true; choose one of them" $engine $own $engine) -}}
{{- end -}}
{{- if and $block.enabled (not $v.scan.enabled) -}}
{{- $faults = append $faults (printf "%s.enabled: nothing asks it, since scan.enabled is false" $engine) -}}
{{- end -}}
{{- with include "posthorn.placementFaults" (dict "key" $engine "values" $block) -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- if and $block.enabled (ne $engine "resolver") -}}
{{- $name := printf "%s-%s" (include "posthorn.fullname" $) $engine -}}
{{- with include "posthorn.replicasFault" (dict "root" $ "kind" "StatefulSet" "name" $name "value" (printf "%s.replicas" $engine) "wanted" $block.replicas) -}}
{{- $faults = append $faults . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join "\n" $faults -}}
{{- end -}}
