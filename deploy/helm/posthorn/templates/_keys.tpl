{{/*
Derived keys: HMAC-SHA-256 (RFC 2104) of "posthorn <purpose>" under each master key, as `posthorn-keys` prints them, so that a service
gets the key for its purpose and never the master key. Helm has SHA-256 but neither HMAC nor XOR. So the pads are applied
to the key digit by digit in base64, where a constant byte is a pattern of four digits, and the inner digest is converted from
hexadecimal digits, three at a time, into two of base64.
Takes keys (base64, several separated by commas) and purpose. A test compares the result with the library.
*/}}
{{- define "posthorn.derivedKeys" -}}
{{- $alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" -}}
{{- $values := dict -}}
{{- range $i := until 64 }}{{ $_ := set $values (substr $i (int (add $i 1)) $alphabet) $i }}{{ end -}}
{{- /* 0x36 and 0x5c as digits of base64; after the last complete group, one byte is two digits */ -}}
{{- $pads := dict "inner" (list 13 35 24 54 13 32) "outer" (list 23 5 49 28 23 0) -}}
{{- $derived := list -}}
{{- range $key := splitList "," .keys -}}
{{- $digits := trim $key | trimSuffix "=" -}}
{{- $padded := dict -}}
{{- range $side, $pattern := $pads -}}
{{- $text := "" -}}
{{- range $i := until 86 -}}
{{- $digit := 0 -}}
{{- if lt $i (len $digits) }}{{ $digit = get $values (substr $i (int (add $i 1)) $digits) }}{{ end -}}
{{- $constant := index $pattern (ternary (int (sub $i 80)) (mod $i 4 | int) (ge $i 84)) -}}
{{- $mixed := 0 -}}
{{- range $bit := list 1 2 4 8 16 32 -}}
{{- if ne (mod (div $digit $bit) 2) (mod (div $constant $bit) 2) }}{{ $mixed = add $mixed $bit }}{{ end -}}
{{- end -}}
{{- $text = printf "%s%s" $text (substr (int $mixed) (int (add $mixed 1)) $alphabet) -}}
{{- end -}}
{{- $_ := set $padded $side (printf "%s==" $text) -}}
{{- end -}}
{{- $inner := printf "%s%s" (b64dec $padded.inner) (printf "posthorn %s" $.purpose) | sha256sum -}}
{{- $binary := include "posthorn.hexToBase64" $inner -}}
{{- $outer := printf "%s%s" (b64dec $padded.outer) (b64dec $binary) | sha256sum -}}
{{- $derived = append $derived (include "posthorn.hexToBase64" $outer) -}}
{{- end -}}
{{- join "," $derived -}}
{{- end -}}

{{/* The 64 hexadecimal digits of a digest in base64. */}}
{{- define "posthorn.hexToBase64" -}}
{{- $alphabet := "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" -}}
{{- $values := dict "a" 10 "b" 11 "c" 12 "d" 13 "e" 14 "f" 15 -}}
{{- range $i := until 10 }}{{ $_ := set $values (toString $i) $i }}{{ end -}}
{{- $hex := printf "%s00" . -}}
{{- $text := "" -}}
{{- range $i := until 22 -}}
{{- $at := int (mul $i 3) -}}
{{- $number := 0 -}}
{{- range $j := until 3 -}}
{{- $place := int (add $at $j) -}}
{{- $number = add (mul $number 16) (get $values (substr $place (int (add $place 1)) $hex)) -}}
{{- end -}}
{{- range $digit := list (div $number 64) (mod $number 64) -}}
{{- $text = printf "%s%s" $text (substr (int $digit) (int (add $digit 1)) $alphabet) -}}
{{- end -}}
{{- end -}}
{{- printf "%s=" (substr 0 43 $text) -}}
{{- end -}}
