{{/*
How many pods a Deployment has, when besides the values an autoscaler or `kubectl scale` has a say.

Helm 4 applies server-side: each field has owners, a change of one that somebody else owns is a conflict, and a release with one stops
half-way. Helm 3, and Helm 4 with a release that Helm 3 made, patch as they like. The live object's managedFields tell them apart:
server-side there is an entry with the operation Apply. `lookup` finds nothing where a tool renders without a cluster.
*/}}

{{/* "true" when Helm applies server-side and somebody else has set the number. Takes the live Deployment. */}}
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

{{/* What scales a part by itself, as YAML: autoscaling or keda, if one is on. Takes values. */}}
{{- define "posthorn.scaler" -}}
{{- range $kind := list "autoscaling" "keda" -}}
{{- $scaler := index $.values $kind | default dict -}}
{{- if $scaler.enabled -}}{{- toYaml $scaler -}}{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The number for a Deployment's spec, or nothing when it is to be left out. A part that is scaled by itself keeps the number that it has: left
out, the API server would set 1, until the autoscaler has acted. But once the autoscaler owns the number, it must be left out.
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

{{/* What is wrong with a number of pods, when Helm could not set it. Takes root, kind, name, value (the value's name) and wanted. */}}
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
