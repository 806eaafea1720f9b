{{/*
Checks of what only the API server would refuse in a service's pods, after other objects of the release were changed: names that
are duplicate, that refer to nothing, or that belong to the chart. The schema checks single values.
*/}}

{{/* The faults of a service, one per line. Takes root, name, part, values. */}}
{{- define "posthorn.podFaults" -}}
{{- $key := .part.key -}}
{{- $v := .values -}}
{{- $faults := list -}}
{{- $given := dict -}}
{{- range include "posthorn.env" (dict "root" .root "part" .part "values" (omit $v "extraEnv")) | fromYamlArray -}}
{{- $_ := set $given .name "is set by the chart: use the value, or settings, that decides it" -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if hasKey $given .name -}}
{{- $faults = append $faults (printf "%s.extraEnv: %s %s" $key .name (get $given .name)) -}}
{{- end -}}
{{- $_ := set $given .name "is there twice" -}}
{{- end -}}
{{- $own := include "posthorn.labels" (dict "root" .root "component" .name) | fromYaml -}}
{{- $_ := set $own "posthorn.dev/part" "true" -}}
{{- range $label, $_ := $v.podLabels -}}
{{- if hasKey $own $label -}}
{{- $faults = append $faults (printf "%s.podLabels: %s is the chart's own (or one of commonLabels), and Services select by such" $key $label) -}}
{{- end -}}
{{- end -}}
{{- $volumes := list "tmp" "tls" "nats-creds" -}}
{{- $resolved := and (eq $key "scan") .root.Values.resolver.enabled -}}
{{- if $resolved }}{{ $volumes = append $volumes "resolver" }}{{ end -}}
{{- range $v.extraVolumes -}}
{{- if has .name $volumes -}}
{{- $faults = append $faults (printf "%s.extraVolumes: there is a volume %s already" $key .name) -}}
{{- end -}}
{{- $volumes = append $volumes .name -}}
{{- end -}}
{{- $containers := dict "extraContainers" $v.extraContainers "initContainers" $v.initContainers -}}
{{- $_ := set $containers "" (list (dict "name" .name "volumeMounts" (concat (list (dict "name" "tmp" "mountPath" "/tmp") (dict "name" "tls" "mountPath" "/etc/posthorn/tls") (dict "name" "nats-creds" "mountPath" "/etc/posthorn/nats")) $v.extraVolumeMounts))) -}}
{{- $names := ternary (list "resolver") list $resolved -}}
{{- range $list, $those := $containers -}}
{{- range $those -}}
{{- if has .name $names -}}
{{- $faults = append $faults (printf "%s.%s: there is a container %s already" $key $list .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- $paths := list -}}
{{- range .volumeMounts -}}
{{- if not (has .name $volumes) -}}
{{- $faults = append $faults (printf "%s.%s: there is no volume %s to mount at %s" $key (default "extraVolumeMounts" $list) .name .mountPath) -}}
{{- end -}}
{{- if has .mountPath $paths -}}
{{- $faults = append $faults (printf "%s.%s: something is mounted at %s already" $key (default "extraVolumeMounts" $list) .mountPath) -}}
{{- end -}}
{{- $paths = append $paths .mountPath -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $probe := list "startupProbe" "livenessProbe" "readinessProbe" -}}
{{- with index $v $probe -}}
{{- if ne (len (pick . "exec" "grpc" "httpGet" "tcpSocket")) 1 -}}
{{- $faults = append $faults (printf "%s.%s: give one of exec, grpc, httpGet, tcpSocket; it stands in place of the chart's whole probe" $key $probe) -}}
{{- end -}}
{{- if and (ne $probe "readinessProbe") (gt (int (default 1 .successThreshold)) 1) -}}
{{- $faults = append $faults (printf "%s.%s.successThreshold: must be 1" $key $probe) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $spread := list -}}
{{- range $v.topologySpreadConstraints -}}
{{- $pair := printf "%s, %s" .topologyKey .whenUnsatisfiable -}}
{{- if has $pair $spread -}}
{{- $faults = append $faults (printf "%s.topologySpreadConstraints: %s is there twice" $key $pair) -}}
{{- end -}}
{{- $spread = append $spread $pair -}}
{{- end -}}
{{- with include "posthorn.placementFaults" (dict "key" $key "values" $v) -}}{{- $faults = append $faults . -}}{{- end -}}
{{- join "\n" $faults -}}
{{- end -}}

{{/* The faults of resources and tolerations, one per line. Takes key and values. */}}
{{- define "posthorn.placementFaults" -}}
{{- $key := .key -}}
{{- $faults := list -}}
{{- $requests := (.values.resources | default dict).requests | default dict -}}
{{- range $what, $limit := (.values.resources | default dict).limits | default dict -}}
{{- with get $requests $what -}}
{{- if gt (include "posthorn.amount" . | float64) (include "posthorn.amount" $limit | float64) -}}
{{- $faults = append $faults (printf "%s.resources: the request of %s, %v, is more than its limit, %v" $key $what . $limit) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .values.tolerations -}}
{{- if and (eq (default "" .operator) "Exists") .value -}}
{{- $faults = append $faults (printf "%s.tolerations: Exists takes no value" $key) -}}
{{- end -}}
{{- if and (not .key) (ne (default "" .operator) "Exists") -}}
{{- $faults = append $faults (printf "%s.tolerations: without a key the operator must be Exists" $key) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $faults -}}
{{- end -}}

{{/* Node ports that two ports of Services share, and invalid names of Services: one fault per line. */}}
{{- define "posthorn.serviceFaults" -}}
{{- $faults := list -}}
{{- $taken := dict -}}
{{- range $name, $part := include "posthorn.enabledParts" . | fromYaml -}}
{{- $values := index $.Values $part.key -}}
{{- range $port, $_ := $part.ports | default dict -}}
{{- with index $values.service.nodePorts $port -}}
{{- $number := int . | toString -}}
{{- $where := printf "%s.service.nodePorts.%s" $part.key $port -}}
{{- if hasKey $taken $number -}}
{{- $faults = append $faults (printf "%s: %s is %s's already" $where $number (get $taken $number)) -}}
{{- end -}}
{{- $_ := set $taken $number $where -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $full := include "posthorn.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $full) -}}
{{- $faults = append $faults (printf "fullnameOverride: give one: %s, made from the release's name, is no name for a Service, which begins with a letter and holds letters, digits and hyphens" $full) -}}
{{- end -}}
{{- join "\n" $faults -}}
{{- end -}}

{{/* A quantity as a plain number. */}}
{{- define "posthorn.amount" -}}
{{- $text := include "posthorn.text" . -}}
{{- $units := dict "n" 1e-9 "u" 1e-6 "m" 1e-3 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "E" 1e18 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 "Pi" 1125899906842624.0 "Ei" 1152921504606846976.0 -}}
{{- $unit := regexFind "[A-Za-z]+$" $text -}}
{{- if $unit -}}{{- mulf (trimSuffix $unit $text | float64) (get $units $unit) -}}{{- else -}}{{- $text -}}{{- end -}}
{{- end -}}
