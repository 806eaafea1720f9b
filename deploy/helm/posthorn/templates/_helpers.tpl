{{/* Names, labels, images, and small functions that several templates share. */}}

{{- define "posthorn.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: Services and Jobs append to it, and 63 is the limit. */}}
{{- define "posthorn.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "posthorn.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.selectorLabels" -}}
app.kubernetes.io/name: {{ include "posthorn.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of an object. Takes root, and component if it belongs to one. */}}
{{- define "posthorn.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "posthorn.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_")
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "posthorn"
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
{{- toYaml (merge $own .root.Values.commonLabels) -}}
{{- end -}}

{{/* The metadata block of an object. Takes root, name, component, and annotations and labels of its own. */}}
{{- define "posthorn.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- toYaml (merge (include "posthorn.labels" . | fromYaml) (.labels | default dict)) | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "posthorn.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "posthorn.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount of the bundled stores: it has no role, such as that for S3. */}}
{{- define "posthorn.storesAccountName" -}}
{{- include "posthorn.serviceAccountName" . -}}{{- if .Values.serviceAccount.create -}}-stores{{- end -}}
{{- end -}}

{{/* The SPF mechanisms for the outbound addresses. */}}
{{- define "posthorn.spf" -}}
{{- $terms := list -}}
{{- range .Values.outboundAddresses -}}
{{- $terms = append $terms (printf "%s:%s" (ternary "ip6" "ip4" (contains ":" .)) .) -}}
{{- end -}}
{{- with .Values.public.spfInclude -}}{{- $terms = list (printf "include:%s" .) -}}{{- end -}}
{{- join " " (default (list "ip4:EGRESS") $terms) -}}
{{- end -}}

{{/* One of Posthorn's own images. Takes root and image. */}}
{{- define "posthorn.image" -}}
{{- $path := printf "%s/%s" .root.Values.image.registry .image.repository -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $path .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path (coalesce .image.tag .root.Values.image.tag .root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* A third-party image. Takes an image block. */}}
{{- define "posthorn.foreignImage" -}}
{{- if .digest -}}
{{- printf "%s/%s@%s" .registry .repository .digest -}}
{{- else -}}
{{- printf "%s/%s:%s" .registry .repository .tag -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.kubeVersion" -}}
{{- default .Capabilities.KubeVersion.Version .Values.capabilities.kubeVersion -}}
{{- end -}}

{{/* "true" when the cluster is of that version or later. Takes root and version. */}}
{{- define "posthorn.since" -}}
{{- if semverCompare (printf ">=%s-0" .version) (include "posthorn.kubeVersion" .root) -}}true{{- end -}}
{{- end -}}

{{/* "true" when the cluster serves an API version. Takes root and api. */}}
{{- define "posthorn.serves" -}}
{{- if or (.root.Capabilities.APIVersions.Has .api) (has .api .root.Values.capabilities.apiVersions) -}}true{{- end -}}
{{- end -}}

{{/* A value as the text of an environment variable: Helm passes numbers as floats, and lists become JSON. */}}
{{- define "posthorn.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else if or (kindIs "slice" .) (kindIs "map" .) -}}
{{- toJson . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* The current value in one of our Secrets, or else the default. Takes root, name, key, default. */}}
{{- define "posthorn.kept" -}}
{{- $there := lookup "v1" "Secret" .root.Release.Namespace .name -}}
{{- $held := dig "data" .key "" (default dict $there) -}}
{{- if $held -}}{{ b64dec $held }}{{- else -}}{{ .default }}{{- end -}}
{{- end -}}

{{/* The master key: that of existingSecret if it can be looked up, else the generated one, which is created if missing. */}}
{{- define "posthorn.masterKey" -}}
{{- if .Values.secretKey.existingSecret -}}
{{- include "posthorn.kept" (dict "root" . "name" .Values.secretKey.existingSecret "key" .Values.secretKey.key "default" "") -}}
{{- else -}}
{{- $name := printf "%s-secret-key" (include "posthorn.fullname" .) -}}
{{- include "posthorn.kept" (dict "root" . "name" $name "key" "secret-key" "default" (randBytes 32)) -}}
{{- end -}}
{{- end -}}

{{/* "true" when secrets may be generated: Helm reaches the cluster that it renders for. Without a cluster Helm uses its own list of
API versions, which lacks some that every cluster serves. Argo CD passes its cluster's list but cannot look anything up. */}}
{{- define "posthorn.mayGenerate" -}}
{{- if eq .Values.secrets.generate "always" -}}true{{- end -}}
{{- if eq .Values.secrets.generate "auto" -}}
{{- $argo := false -}}
{{- range $name, $_ := merge (dict) .Values.migrations.annotations .Values.commonAnnotations -}}
{{- if hasPrefix "argocd.argoproj.io/" $name }}{{ $argo = true }}{{ end -}}
{{- end -}}
{{- if and (not $argo) (include "posthorn.serves" (dict "root" . "api" "apiregistration.k8s.io/v1")) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{- .Values.tls.existingSecret -}}
{{- else if or .Values.tls.certManager.enabled .Values.tls.selfSigned -}}
{{- include "posthorn.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- define "posthorn.postgresSecret" -}}
{{- $own := printf "%s-postgresql" (include "posthorn.fullname" .) -}}
{{- if .Values.postgresql.bundled.enabled -}}
{{- default $own .Values.postgresql.bundled.existingSecret -}}
{{- else -}}
{{- default $own .Values.postgresql.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.natsSecret" -}}
{{- $own := printf "%s-nats" (include "posthorn.fullname" .) -}}
{{- if .Values.nats.bundled.enabled -}}
{{- default $own .Values.nats.bundled.existingSecret -}}
{{- else -}}
{{- default $own .Values.nats.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.s3Secret" -}}
{{- if .Values.s3.bundled.enabled -}}
{{- default (printf "%s-s3" (include "posthorn.fullname" .)) .Values.s3.bundled.existingSecret -}}
{{- else -}}
{{- .Values.s3.existingSecret -}}
{{- end -}}
{{- end -}}

{{- define "posthorn.streamReplicas" -}}
{{- if .Values.nats.streamReplicas -}}
{{- int .Values.nats.streamReplicas -}}
{{- else if .Values.nats.bundled.enabled -}}
{{- int .Values.nats.bundled.replicas -}}
{{- else -}}
3
{{- end -}}
{{- end -}}

{{- define "posthorn.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "posthorn.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Settings common to all pods. Service links are off because a Service named posthorn-api would put a variable
POSTHORN_API_PORT=tcp://... into every pod of the namespace, and the API would refuse to start with it. */}}
{{- define "posthorn.podCommon" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}
