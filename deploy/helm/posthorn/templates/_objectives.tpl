{{/*
The group of rules of the objectives: recording rules of the part that is bad in each window, of the target and of what is
left of the budget of 28 days, and an alert for each pair of windows in which the budget is spent too fast.
*/}}
{{- define "posthorn.objectives" -}}
{{- $root := .root }}
{{- $settings := $root.Values.monitoring.prometheusRule }}
{{- $of := printf "{namespace=\"%s\",job=\"%s-metrics\"}" $root.Release.Namespace .full }}
{{- $rules := list }}
{{- /* what takes days to put right wakes nobody at night */}}
{{- $slow := list }}
{{- range $root.Files.Get "files/objectives.yaml" | replace "SELECTOR" .selector | fromYamlArray }}
{{- if not (has .objective $settings.disabled) }}
{{- $labels := dict "objective" .objective "namespace" $root.Release.Namespace "job" (printf "%s-metrics" $.full) }}
{{- $objective := . }}
{{- if .slow }}
{{- $slow = append $slow .objective }}
{{- end }}
{{- if .missed }}
{{- $rules = append $rules (dict "record" "posthorn:objective:missed" "expr" .missed "labels" $labels) }}
{{- end }}
{{- range list "5m" "30m" "1h" "6h" }}
{{- $expr := printf "(%s) / (%s > 0)" $objective.bad $objective.all | replace "WINDOW" . }}
{{- if $objective.missed }}
{{- $expr = printf "avg_over_time(posthorn:objective:missed{objective=\"%s\",%s[%s])" $objective.objective (trimPrefix "{" $of) . }}
{{- end }}
{{- $rules = append $rules (dict "record" (printf "posthorn:objective_errors:ratio%s" .) "expr" $expr "labels" $labels) }}
{{- end }}
{{- /* each hour with traffic counts the same: a range of 28 days of the metrics themselves would cost too much */}}
{{- $hours := printf "avg_over_time(posthorn:objective_errors:ratio1h{objective=\"%s\",%s[28d:1h])" .objective (trimPrefix "{" $of) }}
{{- $rules = append $rules (dict "record" "posthorn:objective_errors:ratio28d" "expr" $hours "labels" $labels) }}
{{- $rules = append $rules (dict "record" "posthorn:objective:target" "expr" (printf "vector(%v)" .target) "labels" $labels) }}
{{- $left := printf "1 - posthorn:objective_errors:ratio28d{objective=\"%s\",%s / %v" .objective (trimPrefix "{" $of) (printf "(1 - %v)" .target) }}
{{- $rules = append $rules (dict "record" "posthorn:objective_budget:left" "expr" $left "labels" $labels) }}
{{- end }}
{{- end }}
{{- range list (dict "name" "PosthornBudgetBurnsFast" "factor" "14.4" "long" "1h" "short" "5m" "severity" "critical" "for" "2m") (dict "name" "PosthornBudgetBurns" "factor" "6" "long" "6h" "short" "30m" "severity" "warning" "for" "15m") }}
{{- if not (has .name $settings.disabled) }}
{{- $limit := printf "> on (objective) group_left () %s * (1 - posthorn:objective:target%s)" .factor $of }}
{{- $paged := $of }}
{{- if eq .severity "critical" }}
{{- $paged = printf "{objective!~\"%s\",%s" (join "|" $slow) (trimPrefix "{" $of) }}
{{- end }}
{{- $expr := printf "posthorn:objective_errors:ratio%s%s %s and on (objective) posthorn:objective_errors:ratio%s%s %s" .long $paged $limit .short $of $limit }}
{{- $annotations := dict "summary" "The objective {{ $labels.objective }} is missed" "description" (printf "Over %s, and over the last %s, {{ $value | humanizePercentage }} was bad: the budget of 28 days is spent %s times too fast." .long .short .factor) "runbook_url" (printf "%s/%s.md" (trimSuffix "/" $settings.runbookBaseUrl) (lower .name)) }}
{{- $labels := merge (dict) $settings.alertLabels (dict "severity" .severity) }}
{{- $rules = append $rules (dict "alert" .name "expr" $expr "for" .for "labels" $labels "annotations" $annotations) }}
{{- end }}
{{- end }}
- name: {{ .full }}-objectives
  rules:
    {{- toYaml $rules | nindent 4 }}
{{- end }}
