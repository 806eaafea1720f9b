{{/*
The number of pods of a Deployment, which an autoscaler or `kubectl scale` may set besides the values.

Helm 4 applies server-side: each field has owners, changing a field of another owner is a conflict, and a conflict stops the release
half-way. Helm 3, and Helm 4 with a release that Helm 3 made, overwrite fields. The live object's managedFields tell them apart:
server-side there is an entry with the operation Apply. `lookup` finds nothing when a tool renders without a cluster.
*/}}

{{/* "true" when Helm applies server-side and another manager has set the number. Takes the live Deployment. */}}
{{- define "posthorn.scaledByOthers" -}}
{{- $applied := false -}}
{{- $others := false -}}
{{- range (.metadata | default dict).managedFields -}}
{{- if eq .operation "Apply" -}}
{{- $applied = true -}}
{{- else if kindIs "map" (dig "f:spec" "f:replicas" "" (.fieldsV1 | default dict)) -}}
{{- $others = true -}}
{{- end -}}
{{- end -}}
{{- if and $applied $others -}}true{{- end -}}
{{- end -}}

{{/* The enabled scaler of a service as YAML: autoscaling or keda. Takes values. */}}
{{- define "posthorn.scaler" -}}
{{- range $kind := list "autoscaling" "keda" -}}
{{- $scaler := index $.values $kind | default dict -}}
{{- if $scaler.enabled -}}{{- toYaml $scaler -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The number for a Deployment's spec, or nothing if it must be left out. An autoscaled service keeps its current number: if it were left
out, the API server would set 1 until the autoscaler acts. Once the autoscaler owns the number, it must be left out.
Takes root, name, values.
*/}}
{{- define "posthorn.replicas" -}}
{{- $scaler := include "posthorn.scaler" . | fromYaml -}}
{{- if not $scaler -}}
{{- int .values.replicas -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name -}}
{{- if and $live (not (include "posthorn.scaledByOthers" $live)) -}}
{{- max (int (dig "spec" "replicas" 1 $live)) (int $scaler.minReplicas) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The fault of a number of pods that Helm could not set. Takes root, kind, name, value (the value's name) and wanted. */}}
{{- define "posthorn.replicasFault" -}}
{{- $helm := .root.Capabilities.HelmVersion.Version | default "v3" -}}
{{- if semverCompare ">=4.0.0-0" $helm -}}
{{- $live := lookup "apps/v1" .kind .root.Release.Namespace .name -}}
{{- $has := int (dig "spec" "replicas" 1 ($live | default dict)) -}}
{{- if and $live (ne $has (int .wanted)) (include "posthorn.scaledByOthers" $live) -}}
{{- printf "%s: %s was scaled to %d by other means, and Helm would stop half-way when it sets %d. " .value .name $has (int .wanted) -}}
{{- if eq .kind "Deployment" -}}{{- printf "Give %s=%d, or first run" .value $has -}}{{- else -}}First run{{- end -}}
{{- printf ": kubectl --namespace %s scale %s %s --replicas %d" .root.Release.Namespace (lower .kind) .name (int .wanted) -}}
{{- end -}}
{{- end -}}
{{- end -}}
