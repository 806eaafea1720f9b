{{/* Checks that the schema cannot express: values that contradict one another are refused, each with advice. */}}
{{- define "posthorn.guard" -}}
{{- $v := .Values -}}
{{- $faults := list -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- $faults = append $faults "tls.existingSecret and tls.certManager.enabled: choose one of them" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- $faults = append $faults "tls.certManager.issuerRef.name: cert-manager needs the name of an issuer" -}}
{{- end -}}
{{- if $v.proxyProtocol.enabled -}}
{{- if not $v.proxyProtocol.networks -}}
{{- $faults = append $faults "proxyProtocol.networks: list the networks that your load balancers connect from; without them anybody could claim any address" -}}
{{- end -}}
{{- range $v.proxyProtocol.networks -}}
{{- if regexMatch `/(0+|0\.0\.0\.0)$|^[0:]*:[Ff]{4}(:0{1,4}:0{1,4}|:0\.0\.0\.0)/0*96$|^(0{1,4}:){5}[Ff]{4}::(0{1,4})?/0*96$` . -}}
{{- $faults = append $faults (printf "proxyProtocol.networks: %s contains every address; list the networks of your load balancers only" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $v.postgresql.existingSecret $v.postgresql.url -}}
{{- $faults = append $faults "postgresql.existingSecret and postgresql.url: choose one of them" -}}
{{- end -}}
{{- if $v.postgresql.bundled.enabled -}}
{{- if or $v.postgresql.existingSecret $v.postgresql.url -}}
{{- $faults = append $faults "postgresql.bundled.enabled: must be false when a Postgres of your own is named (its Secret would go unused)" -}}
{{- end -}}
{{- else if not (or $v.postgresql.existingSecret $v.postgresql.url) -}}
{{- $faults = append $faults "postgresql.existingSecret: name a Secret with the URL of your Postgres, since postgresql.bundled.enabled is false" -}}
{{- end -}}
{{- if and $v.nats.existingSecret $v.nats.url -}}
{{- $faults = append $faults "nats.existingSecret and nats.url: choose one of them" -}}
{{- end -}}
{{- if $v.nats.bundled.enabled -}}
{{- if or $v.nats.existingSecret $v.nats.url $v.nats.credsSecret -}}
{{- $faults = append $faults "nats.bundled.enabled: must be false when a NATS of your own is named (its Secret would go unused)" -}}
{{- end -}}
{{- if gt (int (include "posthorn.streamReplicas" .)) (int $v.nats.bundled.replicas) -}}
{{- $faults = append $faults (printf "nats.streamReplicas: %d replicas need as many servers, and nats.bundled.replicas is %d" (int $v.nats.streamReplicas) (int $v.nats.bundled.replicas)) -}}
{{- end -}}
{{- $size := $v.nats.bundled.storage.size -}}
{{- $bytes := include "posthorn.bytes" $size -}}
{{- if and $bytes (lt (int64 $bytes) (int64 (include "posthorn.natsBytes" .))) -}}
{{- $faults = append $faults (printf "nats.bundled.storage.size: %s is less than the streams may take; give at least %dMi, or lower nats.ingestMaxBytes, deadMaxBytes, eventsMaxBytes" $size (div (int64 (include "posthorn.natsBytes" .)) 1048576 | add1)) -}}
{{- end -}}
{{- else if not (or $v.nats.existingSecret $v.nats.url) -}}
{{- $faults = append $faults "nats.existingSecret: name a Secret with the URL of your NATS, since nats.bundled.enabled is false" -}}
{{- end -}}
{{- if $v.s3.bundled.enabled -}}
{{- if or $v.s3.existingSecret $v.s3.endpoint -}}
{{- $faults = append $faults "s3.bundled.enabled: must be false when an S3 server of your own is named" -}}
{{- end -}}
{{- if contains "/" $v.s3.bucket -}}
{{- $faults = append $faults "s3.bucket: the bundled server makes a bucket, without a prefix" -}}
{{- end -}}
{{- end -}}
{{- range $name, $part := include "posthorn.enabledParts" . | fromYaml -}}
{{- $values := index $v $part.key -}}
{{- $budget := $values.podDisruptionBudget -}}
{{- if and $budget.enabled (not (kindIs "invalid" $budget.minAvailable)) (not (kindIs "invalid" $budget.maxUnavailable)) -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget: give minAvailable or maxUnavailable; set the other to null" $part.key) -}}
{{- end -}}
{{- if and $budget.enabled (kindIs "invalid" $budget.minAvailable) (kindIs "invalid" $budget.maxUnavailable) -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget: give minAvailable or maxUnavailable" $part.key) -}}
{{- end -}}
{{- $least := int $values.replicas -}}
{{- range $kind, $low := dict "autoscaling" "minReplicas" "keda" "minReplicas" -}}
{{- $scaling := index $values $kind | default dict -}}
{{- if $scaling.enabled }}{{ $least = int (index $scaling $low) }}{{ end -}}
{{- if and $scaling.enabled (gt (int (index $scaling $low)) (int $scaling.maxReplicas)) -}}
{{- $faults = append $faults (printf "%s.%s: minReplicas is more than maxReplicas" $part.key $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $budget.enabled (regexMatch "^[0-9]+$" (toString $budget.minAvailable)) (ge (int $budget.minAvailable) $least) -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget.minAvailable: must be less than the replicas (%d), or no node could be drained" $part.key $least) -}}
{{- end -}}
{{- if and $budget.enabled (has (toString $budget.maxUnavailable) (list "0" "0%")) -}}
{{- $faults = append $faults (printf "%s.podDisruptionBudget.maxUnavailable: must be above 0, or no node could be drained" $part.key) -}}
{{- end -}}
{{- with $values.autoscaling -}}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not (and .targetSessions (include "posthorn.serves" (dict "root" $ "api" "custom.metrics.k8s.io/v1beta1")))) -}}
{{- $faults = append $faults (printf "%s.autoscaling: nothing to scale by: give targetCPUUtilizationPercentage (targetSessions needs custom metrics in the cluster)" $part.key) -}}
{{- end -}}
{{- end -}}
{{- if has $part.key (list "smtpIn" "submission") -}}
{{- $spool := coalesce (get $values.settings "POSTHORN_SMTP_SPOOL_BYTES") (get $v.settings "POSTHORN_SMTP_SPOOL_BYTES") 2147483648 -}}
{{- $room := include "posthorn.bytes" $values.tmpSize -}}
{{- if and $room (le (int64 $room) (int64 $spool)) -}}
{{- $faults = append $faults (printf "%s.tmpSize: %s is not more than POSTHORN_SMTP_SPOOL_BYTES, %d bytes; pods would be evicted under large messages" $part.key $values.tmpSize (int64 $spool)) -}}
{{- end -}}
{{- end -}}
{{- with include "posthorn.podFaults" (dict "root" $ "name" $name "part" $part "values" $values) -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- if not (include "posthorn.scaler" (dict "values" $values)) -}}
{{- with include "posthorn.replicasFault" (dict "root" $ "kind" "Deployment" "name" $part.fullname "value" (printf "%s.replicas" $part.key) "wanted" $values.replicas) -}}
{{- $faults = append $faults . -}}
{{- end -}}
{{- end -}}
{{- $needed := add (int $values.preStopSeconds) (int (ceil $values.graceSeconds)) -}}
{{- if lt (int (include "posthorn.terminationGrace" (dict "values" $values))) (int $needed) -}}
{{- $faults = append $faults (printf "%s.terminationGracePeriodSeconds: must be at least preStopSeconds and graceSeconds together, %d; else sessions are killed instead of drained" $part.key $needed) -}}
{{- end -}}
{{- end -}}
{{- if and $v.delivery.keda.enabled (not $v.nats.bundled.enabled) (not $v.delivery.keda.natsMonitoringEndpoint) -}}
{{- $faults = append $faults "delivery.keda.natsMonitoringEndpoint: KEDA must know the monitoring endpoint of your NATS" -}}
{{- end -}}
{{- if $v.canary.enabled -}}
{{- if not (and $v.canary.address $v.canary.existingSecret) -}}
{{- $faults = append $faults "canary: address and existingSecret are needed, of an account that is the canary's alone" -}}
{{- end -}}
{{- if not (and $v.pop3.enabled (or $v.smtpIn.enabled $v.submission.enabled) (include "posthorn.tlsSecret" .)) -}}
{{- $faults = append $faults "canary: it needs pop3, smtpIn or submission, and a certificate (tls)" -}}
{{- end -}}
{{- end -}}
{{- with include "posthorn.placementFaults" (dict "key" "canary" "values" $v.canary) -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- if and $v.api.ingress.enabled (not $v.api.ingress.host) -}}
{{- $faults = append $faults "api.ingress.host: the ingress needs a host" -}}
{{- end -}}
{{- if $v.api.httpRoute.enabled -}}
{{- if not $v.api.httpRoute.host -}}
{{- $faults = append $faults "api.httpRoute.host: the route needs a host" -}}
{{- end -}}
{{- if not $v.api.httpRoute.parentRefs -}}
{{- $faults = append $faults "api.httpRoute.parentRefs: name the Gateway that takes the route" -}}
{{- end -}}
{{- end -}}
{{- range $store := list "postgresql" "nats" "s3" -}}
{{- with include "posthorn.placementFaults" (dict "key" (printf "%s.bundled" $store) "values" (index $v $store).bundled) -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- if (index $v $store).bundled.enabled -}}
{{- $name := printf "%s-%s" (include "posthorn.fullname" $) $store -}}
{{- $wanted := ternary $v.nats.bundled.replicas 1 (eq $store "nats") -}}
{{- with include "posthorn.replicasFault" (dict "root" $ "kind" "StatefulSet" "name" $name "value" (printf "%s.bundled" $store) "wanted" $wanted) -}}
{{- $faults = append $faults . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with include "posthorn.engineFaults" . -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- with include "posthorn.placementFaults" (dict "key" "migrations" "values" $v.migrations) -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- with include "posthorn.serviceFaults" . -}}
{{- $faults = concat $faults (splitList "\n" .) -}}
{{- end -}}
{{- if not (include "posthorn.mayGenerate" .) -}}
{{- $wanted := dict -}}
{{- if not $v.secretKey.existingSecret }}{{ $_ := set $wanted "secretKey.existingSecret" "" }}{{ end -}}
{{- if not $v.api.adminKey.existingSecret }}{{ $_ := set $wanted "api.adminKey.existingSecret" "" }}{{ end -}}
{{- range $store := list "postgresql" "nats" "s3" -}}
{{- $block := index $v $store -}}
{{- if and $block.bundled.enabled (not $block.bundled.existingSecret) }}{{ $_ := set $wanted (printf "%s.bundled.existingSecret" $store) "" }}{{ end -}}
{{- end -}}
{{- if and $v.tls.selfSigned (not $v.tls.existingSecret) (not $v.tls.certManager.enabled) }}{{ $_ := set $wanted "tls.existingSecret" "" }}{{ end -}}
{{- range $name, $_ := $wanted -}}
{{- $faults = append $faults (printf "%s: name a Secret; without a cluster to look in, each rendering would generate another one (secrets.generate)" $name) -}}
{{- end -}}
{{- end -}}
{{- if and $v.secretKey.existingSecret (not $v.secretKey.srsKey) (not (include "posthorn.masterKey" .)) -}}
{{- $faults = append $faults (printf "secretKey.srsKey: name the key in %s that holds what posthorn-keys prints; the chart derives it only where it can look the Secret up" $v.secretKey.existingSecret) -}}
{{- end -}}
{{- if and .Release.IsUpgrade (eq $v.secrets.generate "auto") (not $v.secretKey.existingSecret) -}}
{{- $name := printf "%s-secret-key" (include "posthorn.fullname" .) -}}
{{- if not (include "posthorn.kept" (dict "root" . "name" $name "key" "secret-key" "default" "")) -}}
{{- $faults = append $faults (printf "secretKey: this is an upgrade, and the Secret %s is gone; restore it, or accept that DKIM keys and passwords of routes are lost, by secrets.generate=always once" $name) -}}
{{- end -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n  %s\n" (join "\n  " $faults)) -}}
{{- end -}}
{{- end -}}

{{/* Bytes that JetStream's files may use: the limits of the streams, and 1 GiB for the directory and compaction. */}}
{{- define "posthorn.natsBytes" -}}
{{- add (int64 .Values.nats.ingestMaxBytes) (int64 .Values.nats.deadMaxBytes) (int64 .Values.nats.eventsMaxBytes) 1073741824 -}}
{{- end -}}

{{/* Bytes of a quantity in Mi, Gi or Ti; empty for other units, which are not checked. */}}
{{- define "posthorn.bytes" -}}
{{- $text := . -}}
{{- range $unit, $factor := dict "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 -}}
{{- if hasSuffix $unit $text -}}{{- mulf (trimSuffix $unit $text | float64) $factor | int64 -}}{{- end -}}
{{- end -}}
{{- end -}}
