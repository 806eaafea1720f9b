{{/*
A dashboard's JSON, with links to the console, logs and traces where values name them.
*/}}
{{- define "posthorn.dashboard" -}}
{{- $links := list }}
{{- range list "console" "logs" "traces" }}
{{- $url := index $.links . }}
{{- if $url }}
{{- $links = append $links (dict "type" "link" "title" (title .) "url" $url "icon" "external link" "targetBlank" true "keepTime" (ne . "console")) }}
{{- end }}
{{- end }}
{{- if $links }}
{{- $document := fromJson .text }}
{{- set $document "links" (concat $document.links $links) | toPrettyJson }}
{{- else }}
{{- .text }}
{{- end }}
{{- end }}
