{{/* The name of everything of this release, and the beginning of the names of what a tier has. */}}
{{- define "triptych.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* What selects pods; they never change. */}}
{{- define "triptych.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "triptych.labels" -}}
{{ include "triptych.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "triptych.image" -}}
{{ .Values.image.repository }}
{{- with .Values.image.digest }}@{{ . }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Where one tier is found by the others. */}}
{{- define "triptych.at" -}}
{{ include "triptych.name" .root }}-{{ .tier }}.{{ .root.Release.Namespace }}.svc
{{- end }}

{{/* Mistakes that the schema cannot tell, or not in words that help. */}}
{{- define "triptych.check" -}}
{{- $_ := required "image.repository: give the image of Triptych" .Values.image.repository }}
{{- $_ := required "pki.secretName: give the Secret of the CAs and keys that all pods share" .Values.pki.secretName }}
{{- if not .Values.etcd.servers }}
{{- fail "etcd.servers: give the URLs of an etcd of yours, because pods keep nothing" }}
{{- end }}
{{- if and (ge (int .Values.securePort) 7000) (le (int .Values.securePort) 7031) }}
{{- fail (printf "securePort %v: 7000 to 7031 are for what tiers say to one another: give another" .Values.securePort) }}
{{- end }}
{{- $stop := add 105 .Values.shutdownDelaySeconds }}
{{- if lt (int .Values.terminationGracePeriodSeconds) (int $stop) }}
{{- fail (printf "terminationGracePeriodSeconds %v is less than the %v s that a stop may take: give at least that" .Values.terminationGracePeriodSeconds $stop) }}
{{- end }}
{{- range $tier, $own := .Values.tiers }}
{{- $scaling := $own.autoscaling }}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- fail (printf "tiers.%s.autoscaling: minReplicas %v is more than maxReplicas %v" $tier $scaling.minReplicas $scaling.maxReplicas) }}
{{- end }}
{{- if and $scaling.enabled (not (dig "requests" "cpu" "" $own.resources)) }}
{{- fail (printf "tiers.%s.resources.requests.cpu: give it, because cpuPercent is of that, or set tiers.%[1]s.autoscaling.enabled to false" $tier) }}
{{- end }}
{{- end }}
{{- end }}
